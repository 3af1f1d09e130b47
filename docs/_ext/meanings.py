"""The meaning of each key of a definition, table by table, as reStructuredText, each in one paragraph."""

MEANINGS = {
    "app": {
        "source": "The origin of a release.",
        "run": (
            "The command of an instance. saltdeploy splits it into words as a shell would. But no shell runs it, so"
            " there are no pipes, variables or wildcards. :ref:`Placeholders <placeholders>` are filled in. It starts"
            " in the release's folder (``./bin/…`` is the release's own) and must stay in the foreground."
        ),
        "user": (
            "The user that runs instances and test commands. A minion that is root makes a system user of this name,"
            " unless it is ``root``. Any other minion runs everything as itself, and ignores this key."
        ),
        "data": (
            "A folder that the app keeps its data in: ``true`` for ``<root>/<app>/data``, or an absolute path. The node"
            " makes it, the app's user owns it, and it stays when releases and instances go. The app stays on the nodes"
            " that have its data, unless a command says ``move=True``. See :doc:`/howto/data`."
        ),
        "packages": (
            "Packages of the system that a node installs before the release. Debian needs ``python3-venv`` for ``pip``"
            " sources."
        ),
        "states": "SLS files of your own. The installation of a release includes them.",
        "config": (
            "Files for each instance: path below the instance's folder, to a ``salt://`` template (Jinja) in which the"
            " :ref:`placeholders <placeholders>` are variables. They have mode 0600 and belong to the app's user. You"
            " find them as ``{instance}/<path>``. The names ``instance.json``, ``start`` and ``log`` are taken."
        ),
        "env": (
            "Environment variables, with :ref:`placeholders <placeholders>`. saltdeploy sets ``ADDRESS``, ``VERSION``,"
            " ``PATH``, ``HOME``, ``USER``, ``LOGNAME``, ``SHELL`` and ``LANG``. It sets ``PORT`` if the app has"
            " ``ports``, and ``DATA`` if it has ``data``. ``SALTDEPLOY_INSTANCE`` marks the processes of an instance."
            " Your own values here replace the others. An instance inherits no variable from the minion or"
            " supervisord."
        ),
        "ports": (
            "The ports on which instances may listen. Each instance gets a free port. Give a range, because an old and"
            " a new instance cannot share a single port on a node (see ``type`` in :ref:`definition-strategy`). Without"
            " this key the app listens on nothing."
        ),
        "resources": (
            "How much an instance may use. systemd enforces it. supervisord cannot, and a deployment warns of that."
        ),
        "stop": "How saltdeploy stops an instance.",
        "frontend": "Lets the environment's load balancers take requests for this app: see :doc:`/howto/loadbalancer`.",
        "requires": "Services that must be healthy in discovery. Otherwise saltdeploy refuses a deployment.",
        "roles": (
            "Roles of nodes. An instance runs only on a node that has one or more of them. See :ref:`roles <roles>`."
        ),
        "checks": (
            "Checks that an instance must pass to be ready, and that Consul runs while the instance is published. An"
            " app without ``ports`` has one fixed check: its process has run for three seconds without a restart. See"
            " :ref:`apps-without-ports`."
        ),
        "tests": "Tests that a candidate must pass before it is published, in this order: from node, peer, master.",
        "hooks": "Commands that a deployment runs before and after its steps: see :doc:`/howto/hooks`.",
        "strategy": "The differences of this app from the environment's strategy.",
        "version": "The release to deploy without ``version=``. Usually set in the environment.",
        "instances": "The number of instances, over all nodes. Usually set in the environment.",
    },
    "source": {
        "archive": (
            "A tar (also compressed with gzip, bzip2 or xz) or zip file: ``https://``, ``http://``, ``salt://``,"
            " ``file://`` or a path on the node. ``{version}`` is filled in. Give exactly one of ``archive`` and"
            " ``pip``."
        ),
        "pip": (
            "A project of the Python package index. The release is a virtualenv with exactly that version in it. Its"
            " programs are ``./bin/…``."
        ),
        "sha256": (
            "The archive's SHA-256. Without it, a node does not unpack the archive. Give the digest itself, the place"
            " of a file, or a mapping of version to digest. A file has the format of ``sha256sum``, and ``{version}``"
            " is filled in. A mapping also says which versions exist. With ``pip`` only the mapping is allowed, with"
            " the digests of the wheel or source archive. pip then needs hashes in ``requirements`` too, for every"
            " dependency."
        ),
        "strip": "The number of leading folders to leave out of the archive's paths. ``archive`` only.",
        "requirements": (
            "Further requirements of the virtualenv, as in a requirements file. A URL in them has no query. ``pip``"
            " only."
        ),
        "python": "The Python that makes the virtualenv, as a command or a path. ``pip`` only.",
        "index": (
            "The package index that pip asks, for example ``https://pypi.example.com/simple``. A login for it belongs"
            " in ``netrc``. ``pip`` only."
        ),
        "headers": (
            "HTTP headers for the archive's server, for example ``Authorization``. Other servers do not get them, not"
            " even after a redirect. ``archive`` over HTTP only. See :ref:`logins <source-logins>`."
        ),
        "token_file": (
            "A file on each node with a token. The node sends it as ``Authorization: Bearer``, to the same server as"
            " ``headers``. ``archive`` over HTTP only."
        ),
        "netrc": (
            "A netrc file on each node, in the format of curl and pip. Each server gets its own login. saltdeploy does"
            " not use the entry ``default``."
        ),
    },
    "hooks": {
        "before_install": (
            "On all nodes without the release at once, before its installation. The command runs in the folder of the"
            " app's releases, as the minion's own user. A new node has no release and no user of the app yet."
        ),
        "after_install": "On those nodes, after all of them have the release.",
        "before_start": (
            "On the nodes of the wave that are to start instances. In place, before the old instances go. Migrations"
            " that the new release needs belong here."
        ),
        "after_start": "After the new instances are up and have passed their tests from the node.",
        "before_publish": "After they have passed all tests, before clients find them.",
        "after_publish": "After clients have found them, healthy for ``min_healthy_time``.",
        "before_retire": (
            "On the nodes with old instances to retire, while clients still find them. If a node does not have the new"
            " release, the command runs in the old release."
        ),
        "after_retire": (
            "After they are stopped. With ``once``, after no old instance is left. There you can remove things that"
            " only the old release needs."
        ),
    },
    "hook": {
        "command": (
            "The command, in the release's folder, as the app's user, with the app's environment. It must end with 0."
            " :ref:`Placeholders <placeholders>` except ``{port}`` are filled in. No shell runs it. ``INSTANCES`` and"
            " ``PORTS`` in its environment are the ids and the ports of the hook's instances on that node, if there are"
            " any yet. Messages and the history show the command. So put secrets into ``env``."
        ),
        "timeout": "The maximum duration. Then the node kills the hook with its children, and the hook has failed.",
        "once": (
            "Whether it runs on one node only, and once for a release, also if you deploy that again. Otherwise it runs"
            " on every node of every wave."
        ),
        "on_failure": (
            "The deployment's reaction if the hook fails. ``revert`` reverts it. ``freeze`` changes nothing more,"
            " neither forward nor back. Use ``freeze`` if the old release must not run after the hook, either."
        ),
    },
    "resources": {
        "memory": "The maximum of memory. An instance that takes more is killed, and started again.",
        "cpu": "The maximum of processor time, in percent of a single processor.",
    },
    "stop": {
        "signal": "The signal that its processes get.",
        "timeout": (
            "How long they may take to end, 1s to 1h. Then the node kills the remaining processes, and the deployment"
            " warns that work was cut. An instance keeps the ``stop`` of its start."
        ),
    },
    "frontend": {
        "port": "The port that load balancers listen on.",
        "mode": "``http`` if they understand the requests, ``tcp`` if they only pass data through.",
        "timeout": (
            "How long a request may wait for the next byte of its answer, at most 24 days. Then the client gets a 504,"
            " and HAProxy does not send the request again. Websockets and ``tcp`` may be silent for an hour."
        ),
        "trusted_proxies": (
            "Addresses and networks of proxies in front of the load balancers. HAProxy keeps the ``X-Forwarded-*``"
            " headers of their requests, and removes these headers from all other requests."
        ),
    },
    "check": {
        "http": "A path. The answer must have a status of 2xx.",
        "tcp": "A connection to the instance's port must succeed. Give one of ``http`` and ``tcp``.",
        "interval": "The time between two runs of the check by Consul.",
        "timeout": (
            "The maximum time for an answer. Until an instance is ready, it is 5s at most, and then the node asks"
            " again."
        ),
    },
    "test": {
        "http": "A GET request to the instance. Redirects are not followed, because they may lead to another instance.",
        "tcp": "A connection to the instance's port must succeed.",
        "command": (
            "A command in the release's folder, as the app's user, with the app's environment. It must end with 0."
            " :ref:`Placeholders <placeholders>` are filled in. No shell runs it. From the node only."
        ),
        "from": "The origin of the test: the instance's own node, another node of the environment, or the master.",
        "timeout": "The maximum duration. A command that takes longer is killed, with its children.",
    },
    "http": {
        "path": (
            "The path, with a query if there is one. The placeholders ``{version}``, ``{app}``, ``{environment}``,"
            " ``{node}``, ``{address}`` and ``{port}`` work in it. Any other brace stays."
        ),
        "status": "The status that the answer must have.",
        "contains": "Text that the answer must contain, with the same placeholders as ``path``.",
    },
    "environment": {
        "based_on": (
            "Another environment. This environment takes over all of it except its nodes, and merges it with its own"
            " keys. (Mappings are merged, lists and values are replaced.) A mistake among the nodes there is no mistake"
            " here."
        ),
        "scale": (
            "The factor for ``instances`` that come from ``based_on``. The product is rounded, and at least 1. A number"
            " of instances that you write here is not scaled."
        ),
        "nodes": "The nodes, by Salt minion id. A minion belongs to a single environment at most.",
        "discovery": (
            "The access to service discovery. Each environment has its own Consul datacenter: see"
            " :doc:`/reference/discovery`."
        ),
        "consul": (
            "Consul itself, which highstate sets up on every node: see :doc:`/howto/environment`. Without this key, you"
            " run Consul yourself."
        ),
        "dns": "How nodes resolve ``.consul``, if the environment has ``consul``.",
        "notify": "Further receivers of events about the apps here, beside the master's event bus.",
        "apps": (
            "The apps that run here, each with its differences from its definition under ``apps``. Any key of it is"
            " allowed. (Mappings are merged, lists and values are replaced.) ``{}`` means no differences."
        ),
        "strategy": "The way in which deployments proceed here.",
    },
    "cluster": {
        "version": "The version of Consul, 1.17 or newer.",
        "source": (
            "The place of the zip file with the program. ``{version}`` and ``{arch}`` are filled in. Without this key,"
            " a node takes ``salt://consul/consul_<version>_linux_<architecture>.zip`` from the master's file roots. If"
            " it is not there, the node takes it from HashiCorp."
        ),
        "sha256": (
            "Its SHA-256, or the place of a file with it. The default is for a zip file from HashiCorp. With a"
            " ``source`` of your own, give this key."
        ),
        "datacenter": "The name of Consul's datacenter.",
        "services": "Services, besides our apps, that nodes may register.",
    },
    "dns": {
        "resolver": "The program that answers on each node.",
        "upstream": (
            "IP addresses of the name servers for all other names, with the port unless it is 53. Examples are"
            " ``10.0.0.53``, ``10.0.0.53:5353``, ``fd00::53`` and ``[fd00::53]:5353``. Without this key, unbound"
            " resolves from the root by itself. dnsmasq asks these servers itself, and so does unbound. With"
            " systemd-resolved, Consul asks them."
        ),
    },
    "notify": {
        "webhook": "A URL for :doc:`events </reference/events>`, beside the master's event bus.",
    },
    "webhook": {
        "url": (
            "The URL to which the master posts each event. It is required. An environment that is ``based_on`` this"
            " environment has the same webhook. Write ``events: []`` there to send nothing. If you write another"
            " ``url`` there, write ``headers`` and ``token_file`` too. Otherwise the master sends these to the other"
            " URL."
        ),
        "headers": "Further headers of each request.",
        "token_file": (
            "Path of a file on the master. The master sends its content as ``Authorization: Bearer …``. It reads the"
            " file for each event, and ``deploy.check`` warns if the master cannot read it."
        ),
        "events": "The events to send, by the last part of their tag. ``[]`` sends none.",
    },
    "node": {
        "address": (
            "The IPv4 or IPv6 address on which instances of this node listen, and at which clients find them. It must"
            " be an address of the node itself. See :ref:`addresses` for the refused addresses."
        ),
        "roles": "The purposes of this node: see :ref:`roles <roles>`.",
        "zone": (
            "The rack, room or host machine of this node. Nodes of a zone may fail together. saltdeploy spreads"
            " instances evenly over the zones, and no wave touches nodes of two zones. All nodes without a zone form a"
            " zone together."
        ),
    },
    "discovery": {
        "consul": "The access to Consul. ``{}`` takes the defaults.",
    },
    "consul": {
        "datacenter": "The datacenter with the catalog and keys to use.",
        "agent": "The address of a node's own agent. ``{address}`` is the node's address, in brackets if it is IPv6.",
        "servers": "Addresses at which the master reaches Consul. It asks them in turn until a server answers.",
        "token": "The ACL token, for master and nodes: see :doc:`/howto/acl`.",
        "ca": "Path of the CA certificate, on master and nodes, to verify ``https://``.",
    },
    "strategy": {
        "type": (
            "``rolling``: a new instance runs beside the old instance. After the new instance is published, the old"
            " instance is retired. ``recreate`` is for an app with one port. If the old instance has that port, it is"
            " retired first. Never more than half of the instances are out at once. But a single instance is down until"
            " its successor is published. See :doc:`/explanation/deployment`. ``blue_green``: all new instances run and"
            " pass their tests before any is published. Then all of them are published, and all old instances are"
            " withdrawn. It needs two ports for each instance. See :doc:`/howto/bluegreen`."
        ),
        "waves": (
            "The cumulative sizes of the waves, as numbers or percentages. A size counts the nodes that have their new"
            " instances when the wave is over, of all nodes that get any. A last wave of 100% is implied."
        ),
        "max_failures": (
            "The number or the part (rounded down) of the deployment's nodes that may fail to install or to start the"
            " release. A deployment leaves them out, see :ref:`failure-budget`."
        ),
        "min_healthy_time": (
            "The time for which all new instances of a wave must stay healthy before the wave retires the old"
            " instances. It counts from the first result that Consul has of each check. A check notices a hanging"
            " release within its ``interval`` and ``timeout`` together. ``deploy.plan`` warns if ``min_healthy_time``"
            " is shorter than that."
        ),
        "healthy_deadline": (
            "The maximum time for the new instances of a node from their start until they are ready. The instances of a"
            " wave have the same time again until clients find them healthy. Without this key, the first deployment of"
            " an app may give up after a minute. It does so if a process keeps answering its check with a client error"
            " (404) or a redirect. It does not give up early if the process listens on another port only."
        ),
        "progress_deadline": (
            "The maximum time for the installation, and for each wave until it is healthy. A candidate that is still"
            " not published after that leaves discovery by itself."
        ),
        "drain": "The maximum time to wait for open connections of a retired instance.",
        "deregister_delay": (
            "The minimum time for which a retired instance serves on after it left the catalog, for clients that still"
            " have its address. It is at most ``drain``."
        ),
        "pause": (
            "Stop after the first wave, and keep the old instances. ``manual`` waits for ``deploy.promote`` or"
            " ``deploy.abort``. A duration waits for so long. Then the deployment goes on if the new instances stayed"
            " healthy. 0 means no pause. See :doc:`/howto/canary`."
        ),
        "canary_weight": (
            "The share of the traffic for the new release while it is paused. ``full`` gives each instance as much as"
            " any other. ``25%`` is for all of its instances together, by weights in discovery. With ``none``, clients"
            " find it under ``<app>-candidate`` only. The last two need ``pause``, and ``type: rolling``. See"
            " :doc:`/howto/canary`."
        ),
        "when_paused": (
            "The effect on another deployment while a deployment is paused. ``refuse`` refuses it. With ``supersede``,"
            " it takes the place of the paused deployment."
        ),
        "auto_revert": (
            "Whether saltdeploy reverts a failed deployment. Otherwise the new instances stay as they are, so that you"
            " can look at them, and the exit code is 2. Old instances that were replaced in place stay out."
        ),
        "keep_old": (
            "The time for which the instances that ``blue_green`` withdrew run on, unpublished, so that"
            " ``deploy.rollback`` need not start any. With 0, they are retired at once."
        ),
        "keep_releases": (
            "The number of the newest releases of an app that stay installed on each node. The end of a deployment, or"
            " ``deploy.prune``, removes the others. Three kinds of releases count, but always stay: the deployed"
            " release, the last good release before it (for ``deploy.rollback``), and releases with an instance."
        ),
        "analysis": (
            "Measurements of each wave while it serves clients, before old instances are retired. A bad result reverts."
            " Write a list of :ref:`gates <definition-analysis>`. An app's own list replaces the list of the"
            " environment, and ``[]`` is none. See :doc:`/howto/analysis`."
        ),
    },
    "analysis": {
        "name": "Its name in messages, the plan and the history. Give each name once.",
        "http": "A number in a server's JSON answer. The master asks.",
        "prometheus": "A number from a query of Prometheus. The master asks.",
        "command": (
            "A command in the release's folder, as the app's user, with the app's environment, at a single instance of"
            " the wave. :ref:`Placeholders <placeholders>` are filled in. No shell runs it. It must end with 0. With"
            " ``max`` or ``min``, the last line of its output is the number."
        ),
        "max": "The maximum of the number.",
        "min": "The minimum of the number. You need ``max``, ``min`` or both, except with ``command``.",
        "interval": (
            "The time between two measurements, and between the publication and the first measurement. Clients must"
            " have used the release before it can be measured."
        ),
        "count": "The number of measurements.",
        "failure_limit": (
            "The number of measurements that may be bad or inconclusive. One further such measurement ends the"
            " measuring at once, and reverts. The number is less than ``count``."
        ),
        "timeout": "The maximum time of a measurement. After that it is inconclusive, and a command is killed.",
    },
    "measured": {
        "url": (
            "The URL for a GET request. ``{app}``, ``{version}`` and ``{environment}`` are filled in. The status must"
            " be 2xx. Redirects are not followed."
        ),
        "json": "The place of the number in the answer, as a JSON Pointer (RFC 6901).",
        "headers": (
            "Headers of the request, for example for a login. Write a token into the environment, whose analysis only"
            " the master gets. Nodes that may run the app get the analysis in a file of ``apps``."
        ),
    },
    "prometheus": {
        "url": "The address of Prometheus. The master asks ``/api/v1/query`` below it.",
        "query": (
            "PromQL that gives a single number: an instant vector of a single series, or a scalar. ``{app}``,"
            " ``{version}`` and ``{environment}`` are filled in. All other braces belong to PromQL, so write them once."
        ),
        "headers": "As with ``http``.",
    },
}
