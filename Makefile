# One line each, calling the real thing. README says what to expect.
.PHONY: demo demo-down lab lab-down test properties thorough matrix unit lint docs bench bench-planning bench-publication \
	bench-strategies bench-fleet bench-status bench-ansible

PYTHON ?= python3
ENV ?= test
# How the demo's apps are found: consul or skydns.
DISCOVERY ?= consul
# The root of the pillar, by default this checkout's.
PILLAR ?=
# A folder of yours, which the hosts see as /srv/<its name>.
WORKING_COPY ?=

demo:        ## three nodes, Consul (or DISCOVERY=skydns) and a Salt master on this machine; deploys httpbin, upgrades it
	$(PYTHON) -m demo up --discovery $(DISCOVERY)

demo-down:   ## stops all of it
	$(PYTHON) -m demo down

lab:         ## an environment (ENV=test) as real hosts on this machine, from blank to running; as root
	$(PYTHON) -m lab up $(ENV) $(if $(PILLAR),--pillar $(PILLAR)) $(if $(WORKING_COPY),--working-copy $(WORKING_COPY))

lab-down:    ## removes all of it
	$(PYTHON) -m lab down

test:        ## the tests, and the main path again on the oldest that is supported
	$(PYTHON) tests/run.py all

unit:        ## the tests that need no daemon
	$(PYTHON) tests/run.py unit

properties:  ## the properties of planner, executor and nodes, over thousands of generated cases each
	$(PYTHON) tests/run.py properties

thorough:    ## further cases of some tests with daemons and on booted hosts, which take long
	$(PYTHON) tests/run.py thorough

matrix:      ## all integration tests on each supported combination: long
	$(PYTHON) tests/run.py matrix

lint:        ## ruff and mypy, with the settings of pyproject.toml, and a measure of the English
	$(PYTHON) tests/run.py lint

docs:        ## the documentation, as HTML, in docs/_build
	$(PYTHON) tests/run.py docs

bench:       ## the measurements that docs quote
	$(PYTHON) tests/run.py bench

bench-planning: ## how planning grows with the fleet: the table and the plot in docs
	$(PYTHON) tests/run.py bench-planning

bench-publication: ## from publish until DNS has it, against a bare register call
	$(PYTHON) tests/run.py bench-publication

bench-strategies: ## what clients lose while an app is deployed, with each strategy
	$(PYTHON) tests/run.py bench-strategies

bench-fleet: ## how a deployment grows with the fleet, against a bare state.apply
	$(PYTHON) tests/run.py bench-fleet

bench-status: ## deploy.status and a plan of 100 apps, against those of one
	$(PYTHON) tests/run.py bench-status

bench-ansible: ## a rolling deployment on booted hosts, against Ansible with and without Mitogen; as root
	$(PYTHON) tests/run.py bench-ansible
