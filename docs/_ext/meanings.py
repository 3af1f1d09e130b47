"""What each key of a definition means, table by table, as reStructuredText, each in one paragraph."""

MEANINGS = {
    "app": {
        "source": "Where a release comes from.",
        "run": (
            "The command of an instance. It is split into words as a shell would, and no shell runs it: no pipes,"
            " no variables, no wildcards. :ref:`Placeholders <placeholders>` are filled in. It starts in the"
            " release's folder (``./bin/…`` is the release's own) and must stay in the foreground."
        ),
        "user": (
            "Who instances and test commands run as. A minion that is root makes a system user of this name,"
            " unless it is ``root``; a minion that is not root runs everything as itself, and this is ignored."
        ),
        "data": (
            "A folder that the app keeps its data in: ``true`` for ``<root>/<app>/data``, or an absolute path. The node"
            " makes it, the app's user owns it, and it stays when releases and instances go. The app stays on the nodes"
            " that have its data, unless a command says ``move=True``. See :doc:`/howto/data`."
        ),
        "packages": (
            "Packages of the system, installed before the release. Debian needs ``python3-venv`` for ``pip`` sources."
        ),
        "states": "SLS files of your own, included when a release is installed.",
        "config": (
            "Files made for each instance: path below the instance's folder, to a ``salt://`` template (Jinja) in"
            " which the :ref:`placeholders <placeholders>` are variables. Mode 0600, the app's user's own; find"
            " them as ``{instance}/<path>``. ``instance.json``, ``start`` and ``log`` are taken."
        ),
        "env": (
            "Environment variables, with :ref:`placeholders <placeholders>`. saltdeploy sets ``ADDRESS``, ``VERSION``,"
            " ``PATH``, ``HOME``, ``USER``, ``LOGNAME``, ``SHELL`` and ``LANG``. It sets ``PORT`` if the app has"
            " ``ports``, and ``DATA`` if it has ``data``. ``SALTDEPLOY_INSTANCE`` marks the processes of an instance."
            " Your own values here replace the others. An instance inherits no variable from the minion or"
            " supervisord."
        ),
        "ports": (
            "The ports instances may listen on: a free one is taken for each. Give a range: with one single port,"
            " old and new cannot run side by side on a node (see ``type`` in :ref:`definition-strategy`)."
            " None: the app listens on nothing."
        ),
        "resources": (
            "How much an instance may use. systemd enforces it. supervisord cannot, and a deployment warns of that."
        ),
        "stop": "How saltdeploy stops an instance.",
        "frontend": "Have the environment's load balancers take requests for this app: see :doc:`/howto/loadbalancer`.",
        "requires": "Services that must be healthy in discovery, or a deployment is refused.",
        "roles": "Roles of nodes; an instance goes where one of them is. See :ref:`roles <roles>`.",
        "checks": (
            "Checks that an instance must pass to be ready, and that Consul runs while the instance is published. An"
            " app without ``ports`` has one fixed check: its process has run for three seconds without a restart. See"
            " :ref:`apps-without-ports`."
        ),
        "tests": "What a candidate must pass before it is published, in this order: from node, peer, master.",
        "hooks": "Commands that a deployment runs before and after what it does: see :doc:`/howto/hooks`.",
        "strategy": "How this app is deployed, where it differs from the environment's strategy.",
        "version": "The release to deploy where ``version=`` is not given. Usually set in the environment.",
        "instances": "How many instances, over all nodes. Usually set in the environment.",
    },
    "source": {
        "archive": (
            "A tar (also compressed with gzip, bzip2 or xz) or zip file: ``https://``, ``http://``, ``salt://``,"
            " ``file://`` or a path on the node. ``{version}`` is filled in. Exactly one of ``archive`` and"
            " ``pip`` is given."
        ),
        "pip": (
            "A project of the Python package index; the release is a virtualenv with exactly that version in it."
            " Its programs are ``./bin/…``."
        ),
        "sha256": (
            "The archive's SHA-256, without which it is not unpacked: the digest itself; or the place of a file"
            " that holds it, as ``sha256sum`` writes it (``{version}`` is filled in); or a mapping of version to"
            " digest, which also says which versions there are. With ``pip`` only the mapping is allowed: the"
            " digests of the wheel or source archive; pip then wants hashes in ``requirements`` too, for every"
            " dependency."
        ),
        "strip": "How many leading folders of the archive's paths are left out. ``archive`` only.",
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
            "On the nodes that do not have the release yet, all at once, before it is installed. In the folder of the"
            " app's releases, as the minion's own user: on a new node there is no release and no user of the app."
        ),
        "after_install": "On those nodes, when all of them have it.",
        "before_start": (
            "On the nodes of the wave where instances are to be started; in place, before the old ones go. Migrations"
            " that the new release needs belong here."
        ),
        "after_start": "When the new instances are up and have passed their tests from the node.",
        "before_publish": "When they have passed all tests, before users find them.",
        "after_publish": "When users find them, healthy for ``min_healthy_time``.",
        "before_retire": (
            "On the nodes where old instances are to go, while users find them still. Where the new release is not"
            " installed, it runs in the old one."
        ),
        "after_retire": (
            "When they are stopped. With ``once``: when nothing old is left, so that what only the old release needs"
            " can be removed."
        ),
    },
    "hook": {
        "command": (
            "The command, in the release's folder, as the app's user, with the app's environment; it must end with 0."
            " :ref:`Placeholders <placeholders>` but ``{port}`` are filled in; no shell runs it. ``INSTANCES`` and"
            " ``PORTS`` in its environment are the ids and the ports of the instances on that node that it is about,"
            " where there are any yet. It is shown and kept in the history: no secrets, those belong into ``env``."
        ),
        "timeout": "How long it may take; then it is killed, with its children, and has failed.",
        "once": (
            "Whether it runs on one node only, and once for a release: also if that is deployed again. If not, it runs"
            " on every node of every wave."
        ),
        "on_failure": (
            "What becomes of the deployment when it fails: ``revert``; or ``freeze``: nothing more is changed, neither"
            " on nor back, for what must not be followed by the old release, either."
        ),
    },
    "resources": {
        "memory": "How much memory, at most; an instance that takes more is killed, and started again.",
        "cpu": "How much processor time, at most, in percent of one processor.",
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
        "mode": "Whether they understand what goes through (``http``) or not (``tcp``).",
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
        "http": "A path; the answer must have a status of 2xx.",
        "tcp": "A connection to the instance's port must succeed. Give one of ``http`` and ``tcp``.",
        "interval": "How often Consul runs it.",
        "timeout": "How long an answer may take; until an instance is ready, 5s at most, and then it is asked again.",
    },
    "test": {
        "http": "A GET request to the instance. Redirects are not followed, since they may lead to another instance.",
        "tcp": "A connection to the instance's port must succeed.",
        "command": (
            "A command in the release's folder, as the app's user, with the app's environment; it must end with"
            " 0. :ref:`Placeholders <placeholders>` are filled in; no shell runs it. From the node only."
        ),
        "from": (
            "Where the test runs: on the instance's own node, on another node of the environment, or on the master."
        ),
        "timeout": "How long it may take. A command that takes longer is killed, its children too.",
    },
    "http": {
        "path": (
            "The path, with a query if there is one. The placeholders ``{version}``, ``{app}``, ``{environment}``,"
            " ``{node}``, ``{address}`` and ``{port}`` work in it. Any other brace stays."
        ),
        "status": "The status the answer must have.",
        "contains": "Text that the answer must contain, with the same placeholders as ``path``.",
    },
    "environment": {
        "based_on": (
            "Another environment: all of it but its nodes is taken over, and merged with what is said here"
            " (mappings are merged, lists and values are replaced). A mistake among the nodes there is no mistake here."
        ),
        "scale": (
            "By how much ``instances`` that come from ``based_on`` are multiplied, rounded, at least 1. A"
            " number of instances stated here is not scaled."
        ),
        "nodes": "The nodes, by Salt minion id. A minion is a node of one environment at most.",
        "discovery": (
            "How service discovery is reached. One Consul datacenter for each environment: see"
            " :doc:`/reference/discovery`."
        ),
        "consul": (
            "Consul itself, set up by highstate on every node: see :doc:`/howto/environment`. Without it, Consul is"
            " yours to run."
        ),
        "dns": "How nodes resolve ``.consul``, where ``consul`` is given.",
        "notify": "Who else is told what is done to apps here, beside the master's event bus.",
        "apps": (
            "The apps that run here, each with what differs here from its definition under ``apps``: any key of"
            " it (mappings are merged, lists and values are replaced). ``{}``: nothing differs."
        ),
        "strategy": "How deployments proceed here.",
    },
    "cluster": {
        "version": "The version of Consul, 1.17 or newer.",
        "source": (
            "Where the zip file with the program is; ``{version}`` and ``{arch}`` are filled in. If it is not said: in"
            " the master's file roots, as ``salt://consul/consul_<version>_linux_<architecture>.zip``, or else at"
            " HashiCorp."
        ),
        "sha256": (
            "Its SHA-256, or the place of a file that holds it. The default is for a zip file from HashiCorp: with a"
            " ``source`` of your own, give it."
        ),
        "datacenter": "The name of Consul's datacenter.",
        "services": "Services that are not our apps, and that nodes may register.",
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
        "webhook": "Where :doc:`events </reference/events>` are sent to, beside the master's event bus.",
    },
    "webhook": {
        "url": (
            "The URL that each event is posted to; it must be given. An environment that is ``based_on`` this one has"
            " the same webhook: say ``events: []`` there to send nothing; with another ``url``, say ``headers`` and"
            " ``token_file`` there too, or these are sent to it."
        ),
        "headers": "Further headers of each request.",
        "token_file": (
            "Path of a file on the master, whose content is sent as ``Authorization: Bearer …``. It is read for each"
            " event, and ``deploy.check`` warns if the master cannot read it."
        ),
        "events": "Which events are sent, by the last part of their tag. ``[]``: none.",
    },
    "node": {
        "address": (
            "The IPv4 or IPv6 address on which instances of this node listen, and at which clients find them. It must"
            " be an address of the node itself. See :ref:`addresses` for the refused ones."
        ),
        "roles": "What this node is for: see :ref:`roles <roles>`.",
        "zone": (
            "What this node shares with others and may fail with: a rack, a room, a machine that hosts it. Instances"
            " are spread evenly over the zones, and no wave touches nodes of two. Nodes without one are a zone"
            " together."
        ),
    },
    "discovery": {
        "consul": "How Consul is reached. ``{}``: as the defaults say.",
    },
    "consul": {
        "datacenter": "The datacenter whose catalog and keys are used.",
        "agent": "Where a node reaches its own agent. ``{address}`` is the node's address, in brackets if it is IPv6.",
        "servers": "Where the master reaches Consul: asked in turn until one answers.",
        "token": "The ACL token, for master and nodes: see :doc:`/howto/acl`.",
        "ca": "Path of the CA certificate, on master and nodes, that ``https://`` is verified against.",
    },
    "strategy": {
        "type": (
            "``rolling``: a new instance runs beside the old one, which is retired once the new one is published."
            " ``recreate``, for an app with one port: where the old one has that port, it is retired first; never"
            " more than half of the instances are out at once, but a single one is down until the new one is"
            " published. See :doc:`/explanation/deployment`. ``blue_green``: all new instances run and are tested"
            " before any is published; then they are, and all old ones are withdrawn. It needs two ports for each"
            " instance. See :doc:`/howto/bluegreen`."
        ),
        "waves": (
            "The sizes of the waves, cumulative: how many of the nodes that get new instances have them when the"
            " wave is over, as a number or a percentage. A last wave of 100% is implied."
        ),
        "max_failures": (
            "How many of the deployment's nodes, or what part of them (rounded down), may fail to install or to start"
            " the release: they are left out, see :ref:`failure-budget`."
        ),
        "min_healthy_time": (
            "How long all new instances of a wave must stay healthy before the wave retires the old ones. It counts"
            " from the first result that Consul has of each check. A check notices a hanging release within its"
            " ``interval`` and ``timeout`` together. ``deploy.plan`` warns if ``min_healthy_time`` is"
            " shorter than that."
        ),
        "healthy_deadline": (
            "How long the new instances of a node may take from their start until they are ready. The instances of a"
            " wave have the same time again until clients find them healthy. Without this key, the first deployment of"
            " an app gives up after a minute if a process keeps answering its check with a client error (404) or a"
            " redirect. It does not give up early if the process listens on another port only."
        ),
        "progress_deadline": (
            "How long the installation may take, and how long each wave may take until it is healthy. A candidate"
            " that is still not published after that leaves discovery by itself."
        ),
        "drain": "How long open connections of a retired instance are waited for, at most.",
        "deregister_delay": (
            "How long a retired instance serves on, at least, after it left the catalog: for clients that still"
            " have its address. It is at most ``drain``."
        ),
        "pause": (
            "Stop after the first wave, and keep what it replaces: ``manual``, until ``deploy.promote`` or"
            " ``deploy.abort``; or for so long, and then go on if what is new stayed healthy. 0: no pause. See"
            " :doc:`/howto/canary`."
        ),
        "canary_weight": (
            "What of the traffic the new release gets while it is paused: ``full``, each instance as much as any other;"
            " ``25%``, all of them together, by weights in discovery; ``none``, as it is found under"
            " ``<app>-candidate`` only. The last two need ``pause``, and ``type: rolling``. See :doc:`/howto/canary`."
        ),
        "when_paused": (
            "What becomes of another deployment while one is paused: ``refuse``: it is refused; ``supersede``: it takes"
            " the place of the paused one."
        ),
        "auto_revert": (
            "Whether a failed deployment is reverted. If not, the new instances stay as they are, to be looked"
            " at, and the exit code is 2; what was replaced in place stays out."
        ),
        "keep_old": (
            "For how long the set that ``blue_green`` withdrew runs on, unpublished, so that ``deploy.rollback`` has"
            " nothing to start. 0: it is retired at once."
        ),
        "keep_releases": (
            "How many releases of an app stay installed on each node, the newest; what is beyond is removed at the"
            " end of a deployment, or by ``deploy.prune``. The release that is deployed, the last good one before it"
            " (what ``deploy.rollback`` goes to) and those that an instance has count, and stay in any case."
        ),
        "analysis": (
            "What is measured of each wave while it serves users, before what it replaces is retired; a bad one"
            " reverts. A list of :ref:`gates <definition-analysis>`; an app's own list takes the place of that of the"
            " environment, and ``[]`` is none. See :doc:`/howto/analysis`."
        ),
    },
    "analysis": {
        "name": "What messages, the plan and the history call it. A name is given once.",
        "http": "A number in what a server answers in JSON; the master asks.",
        "prometheus": "A number that a query of Prometheus gives; the master asks.",
        "command": (
            "A command in the release's folder, as the app's user, with the app's environment, at one instance of the"
            " wave. :ref:`Placeholders <placeholders>` are filled in; no shell runs it. With ``max`` or ``min`` the"
            " last line it prints is the number, and it must end with 0; without, it must end with 0 only."
        ),
        "max": "The most the number may be.",
        "min": "The least it may be. One of both is needed, or both, but with ``command``.",
        "interval": (
            "How long from one measurement to the next, and from the publication to the first: users must have been"
            " there before anything of them can be measured."
        ),
        "count": "How many measurements are taken.",
        "failure_limit": (
            "How many of them may be bad, or inconclusive; one more ends the measuring at once, and reverts. It is less"
            " than ``count``."
        ),
        "timeout": "How long a measurement may take until it is inconclusive; a command is killed then.",
    },
    "measured": {
        "url": (
            "What is asked, with GET. ``{app}``, ``{version}`` and ``{environment}`` are filled in. The status must be"
            " 2xx; redirects are not followed."
        ),
        "json": "Where in the answer the number is, as a JSON Pointer (RFC 6901).",
        "headers": (
            "Headers of the request, for example for a login. Write a token into the environment, whose analysis only"
            " the master gets. Nodes that may run the app get the analysis in a file of ``apps``."
        ),
    },
    "prometheus": {
        "url": "Where Prometheus is: what is asked is ``/api/v1/query`` below it.",
        "query": (
            "PromQL that gives one number: an instant vector of one series, or a scalar. ``{app}``, ``{version}`` and"
            " ``{environment}`` are filled in; all other braces are PromQL's own, and written once."
        ),
        "headers": "As with ``http``.",
    },
}
