"""``apps:<name>``: an app, its resources, its stop and its frontend."""

from __future__ import annotations

from ...core.forms import A_NAME, A_VERSION, DURATION, FOLDER, INSIDE, INSTANCES, USER, text
from ...core.model import App, CheckRestart, Frontend, Reload, Stop
from ..registrations import CONSUL_META, META_BYTES, MOST_META, SALTDEPLOY_META
from .hooks import HOOKS
from .keys import WORDS, Key, Section, mapping
from .probes import CHECK, TEST
from .source import SOURCE
from .strategy import STRATEGY

RESOURCES = Section(
    "resources",
    {
        "memory": Key(
            text("a size", "a number of bytes, or a number with K, M, G or T", r"^[1-9][0-9]*[KMGT]?$", "512M"),
            "The maximum of memory. An instance that takes more is killed, and started again.",
        ),
        "cpu": Key(
            text("a percentage", "a percentage of one processor", r"^[1-9][0-9]*%$", "200%"),
            "The maximum of processor time, in percent of a single processor.",
        ),
    },
)

STOP = Section(
    "stop",
    {
        "signal": Key(
            {"enum": ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"]},
            "The signal that its processes get.",
            default="TERM",
            reason=(
                "Service managers use this signal to ask a process to end, and most programs finish their work on it."
            ),
        ),
        "timeout": Key(
            DURATION,
            (
                "How long they may take to end, 1s to 1h. Then the node kills the remaining processes, and the"
                " deployment warns that work was cut. An instance keeps the ``stop`` of its start."
            ),
            default="10s",
            reason=(
                "An instance drains before it stops, so its requests have ended. An app with longer jobs needs its own"
                " value, because a wave waits this long for each process that hangs. Docker has the same."
            ),
        ),
    },
    defaults=vars(Stop),
)

RELOAD = Section(
    "reload",
    {
        "signal": Key(
            {"enum": ["HUP", "USR1", "USR2"]},
            "The signal that the main process of an instance gets. Give this or ``command``.",
        ),
        "command": Key(
            {"type": "string", "minLength": 1},
            (
                "A command in the release's folder, as the app's user, with the app's environment, once for each"
                " instance. It must end with 0. :ref:`Placeholders <placeholders>` are filled in. No shell runs it."
            ),
        ),
        "timeout": Key(
            DURATION,
            "The maximum duration of the command. After that it is killed, and the reload has failed.",
            default="30s",
            reason=(
                "A program that reads its files again does so in seconds. A command that hangs should stop the run"
                " while most instances have the old files."
            ),
        ),
        "files": Key(
            {"type": "array", "items": text("a path", "a path in ``config``", INSIDE, "etc/shop.ini"), "minItems": 1},
            (
                "The files of ``config`` that a reload takes in. If only these have other texts, ``deploy.app`` writes"
                " them and reloads the instances, wave by wave. It starts no new instances. See"
                " :doc:`/howto/settings`."
            ),
            otherwise="none",
            reason="Only the app's author knows which files the program reads again.",
        ),
    },
    defaults=vars(Reload),
)

CHECK_RESTART = Section(
    "check_restart",
    {
        "after": Key(
            {"type": "integer", "minimum": 1, "maximum": 100},
            "The number of bad results of a check in a row that it takes.",
            default="3",
            reason="A single bad result may come by chance. With a check every two seconds, three take six seconds.",
        ),
        "grace": Key(
            DURATION,
            (
                "The time after each start in which no result counts. Until its checks have passed once, an instance"
                " also has the ``healthy_deadline`` of the strategy."
            ),
            default="30s",
            reason="Many programs answer slowly while they fill their caches.",
        ),
        "most": Key(
            {"type": "integer", "minimum": 1, "maximum": 100},
            "The number of such restarts of an instance in an hour, at most. After that it stays as it is.",
            default="5",
            reason=(
                "If restarts do not help, the cause is elsewhere, for example in a database. Then more restarts only"
                " add load and lose the traces."
            ),
        ),
    },
    defaults=vars(CheckRestart),
)

SERVICE = Section(
    "service",
    {
        "name": Key(
            A_NAME,
            (
                "A second name in discovery, beside the app's own: ``<name>.service.consul``. It passes as long as the"
                " own name does. ``tags`` and ``meta`` then belong to the second name only. Apps may share it."
            ),
        ),
        "tags": Key(
            {"type": "array", "items": text("a tag", "a text on one line", r"^[^\x00-\x1f\x7f]{1,255}$", "web")},
            (
                "Tags beside the environment's name and the version, for programs such as Traefik, Fabio or Prometheus."
                " A candidate does not have them. The placeholders ``{version}``, ``{app}``, ``{environment}``,"
                " ``{node}``, ``{address}`` and ``{port}`` work in it. Any other brace stays."
            ),
        ),
        "meta": Key(
            mapping(
                text(
                    "a text",
                    f"a text on one line, of at most {META_BYTES} bytes in UTF-8",
                    r"^[^\x00-\x1f\x7f]*$",
                    "blue",
                ),
                text("a key", "letters, digits, _ and -, at most 128", r"^[A-Za-z0-9_-]{1,128}$", "team"),
            ),
            (
                f"Metadata of each instance, with the same placeholders, at most {MOST_META} keys. The keys"
                f" {', '.join(f'``{key}``' for key in SALTDEPLOY_META)} belong to saltdeploy. Keys that begin with"
                f" ``{CONSUL_META}`` belong to Consul. A text has at most {META_BYTES} bytes in UTF-8. The text with"
                " its placeholders filled in counts. If that is too long, Consul refuses it, and the deployment fails"
                " and is reverted."
            ),
        ),
    },
)

FRONTEND = Section(
    "frontend",
    {
        "port": Key(
            {"type": "integer", "minimum": 1, "maximum": 65535},
            "The port that load balancers listen on.",
            required=True,
        ),
        "mode": Key(
            {"enum": ["http", "tcp"]},
            "``http`` if they understand the requests, ``tcp`` if they only pass data through.",
            default="http",
            reason=(
                "HAProxy must understand a request to send it again, to another instance, when the first instance fails"
                " to answer."
            ),
        ),
        "timeout": Key(
            DURATION,
            (
                "How long a request may wait for the next byte of its answer, at most 24 days. Then the client gets a"
                " 504, and HAProxy does not send the request again. Websockets and ``tcp`` may be silent for an hour."
            ),
            default="5m",
            reason=(
                "Exports and uploads take minutes, and an instance may have carried out a request that HAProxy cuts"
                " off. The check finds an instance that hangs long before."
            ),
        ),
        "trusted_proxies": Key(
            {"type": "array", "items": {"type": "string", "examples": ["10.0.0.5"]}},
            (
                "Addresses and networks of proxies in front of the load balancers. HAProxy keeps the ``X-Forwarded-*``"
                " headers of their requests, and removes these headers from all other requests."
            ),
        ),
    },
    defaults=vars(Frontend),
)

APP = Section(
    "app",
    {
        "source": Key(
            SOURCE.schema,
            "The origin of a release.",
            required=True,
        ),
        "run": Key(
            {"type": "string", "minLength": 1},
            (
                "The command of an instance. saltdeploy splits it into words as a shell would. But no shell runs it, so"
                " there are no pipes, variables or wildcards. :ref:`Placeholders <placeholders>` are filled in. It"
                " starts in the release's folder (``./bin/…`` is the release's own) and must stay in the foreground."
                " With ``unit`` there is no ``run``. With a ``container`` these are the arguments of the image's"
                " program, in place of its own, and may be left out."
            ),
            required=True,
        ),
        "unit": Key(
            text("a unit", "the name of a service of systemd, without @", r"^[A-Za-z0-9:_.-]+\.service$"),
            (
                "A unit of the ``package``, for example ``haproxy.service``. saltdeploy runs a copy of it in place of"
                " ``run``, with ``env``, ``resources`` and ``stop``. See :doc:`/howto/debian-package`."
            ),
        ),
        "user": Key(
            text("a user", "a user of the system: a-z, 0-9, _ and -, at most 32 characters", USER, "app-shop"),
            (
                "The user that runs instances and test commands. A minion that is root makes a system user of this"
                " name, unless it is ``root``. Any other minion runs everything as itself, and ignores this key."
            ),
            otherwise="``app-<app>``",
            reason=(
                "With a user of its own, no app can read the secrets in the ``config`` of another app, or stop its"
                " processes. No app is root."
            ),
        ),
        "data": Key(
            {
                "title": "a place for data",
                "description": "true, false, or an absolute path without ..",
                "examples": ["true"],
                "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": FOLDER}],
            },
            (
                "A folder that the app keeps its data in: ``true`` for ``<root>/<app>/data``, or an absolute path. The"
                " node makes it, the app's user owns it, and it stays when releases and instances go. The app stays on"
                " the nodes that have its data, unless a command says ``move=True``. See :doc:`/howto/data`."
            ),
            default="false",
            reason=(
                "Most apps should keep no files, so that they can run on any node and move freely. Only the app's"
                " author knows whether it keeps files."
            ),
        ),
        "packages": Key(
            WORDS,
            (
                "Packages of the system that a node installs before the release. Debian needs ``python3-venv`` for"
                " ``pip`` sources."
            ),
        ),
        "states": Key(
            WORDS,
            "SLS files of your own. The installation of a release includes them.",
        ),
        "config": Key(
            mapping(
                text("a template", "a salt:// URL of a template", r"^salt://"),
                text("a path", "a path below the instance's folder, without ..", INSIDE, "etc/shop.ini"),
            ),
            (
                "Files for each instance: path below the instance's folder, to a ``salt://`` template (Jinja) in which"
                " the :ref:`placeholders <placeholders>` are variables. They have mode 0600 and belong to the app's"
                " user. You find them as ``{instance}/<path>``. The names ``instance.json``, ``start`` and ``log`` are"
                " taken."
            ),
        ),
        "env": Key(
            mapping(
                {"type": ["string", "number", "boolean"]},
                text("a variable", "the name of a variable: letters, digits and _", r"^[A-Za-z_][A-Za-z0-9_]*$"),
            ),
            (
                "Environment variables, with :ref:`placeholders <placeholders>`. saltdeploy sets ``ADDRESS``,"
                " ``VERSION``, ``PATH``, ``HOME``, ``USER``, ``LOGNAME``, ``SHELL`` and ``LANG``. It sets ``PORT`` if"
                " the app has ``ports``, and ``DATA`` if it has ``data``. ``CONSUL_CHECK_ID`` is for :ref:`reports of"
                " the app <ttl-checks>`. ``SALTDEPLOY_INSTANCE`` marks the processes"
                " of an instance. Your own values here replace the others. An instance inherits no variable from the"
                " minion or supervisord."
            ),
        ),
        "ports": Key(
            {
                "title": "a port or a range of ports",
                "description": "a port, or a range first-last",
                "examples": ["20000-20099"],
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 65535},
                    {"type": "string", "pattern": r"^[0-9]{1,5}-[0-9]{1,5}$"},
                ],
            },
            (
                "The ports on which instances may listen. Each instance gets a free port. Give a range, because an old"
                " and a new instance cannot share a single port on a node (see ``type`` in :ref:`definition-strategy`)."
                " Without this key the app listens on nothing."
            ),
        ),
        "resources": Key(
            RESOURCES.schema,
            "How much an instance may use. systemd enforces it. supervisord cannot, and a deployment warns of that.",
        ),
        "stop": Key(
            STOP.schema,
            "How saltdeploy stops an instance.",
        ),
        "frontend": Key(
            FRONTEND.schema,
            "Lets the environment's load balancers take requests for this app: see :doc:`/howto/loadbalancer`.",
        ),
        "requires": Key(
            {"type": "array", "items": A_NAME},
            "Services that must be healthy in discovery. Otherwise saltdeploy refuses a deployment.",
        ),
        "follow": Key(
            {"type": "boolean"},
            "True allows ``{addresses:NAME}`` of a service in ``requires``, in ``run`` and ``env``. If the addresses"
            " change, the settings differ, and ``deploy.watch`` deploys them: see :doc:`/howto/services`.",
            default="false",
            reason="Each move of a service would be a deployment. A DNS name follows a service without any.",
        ),
        "roles": Key(
            WORDS,
            "Roles of nodes. An instance runs only on a node that has one or more of them. See :ref:`roles <roles>`.",
            otherwise="``app``",
            reason=(
                "An app without special needs keeps off load balancers and Consul servers that have no other purpose."
                " Nodes without ``roles`` take it too, so a small environment needs no roles."
            ),
        ),
        "checks": Key(
            {"type": "array", "items": CHECK.schema},
            (
                "Checks that an instance must pass to be ready, and that Consul runs while the instance is published."
                " An app without ``ports`` also has a fixed check: its process has run for three seconds without a"
                " restart. See :ref:`apps-without-ports`."
            ),
            otherwise="a TCP connection",
            reason=(
                "Every app with a port can answer this check. Without any check, clients would be sent to an instance"
                " that has crashed."
            ),
        ),
        "tests": Key(
            {"type": "array", "items": TEST.schema},
            "Tests that a candidate must pass before it is published, in this order: from node, peer, master.",
        ),
        "hooks": Key(
            HOOKS.schema,
            "Commands that a deployment runs before and after its steps: see :doc:`/howto/hooks`.",
        ),
        "reload": Key(
            RELOAD.schema,
            "How a running instance reads its files again, for ``deploy.reload``: see :doc:`/howto/day-two`.",
        ),
        "check_restart": Key(
            CHECK_RESTART.schema,
            "Lets the node restart an instance whose checks go on failing: see :ref:`definition-check_restart`.",
        ),
        "strategy": Key(
            STRATEGY.schema,
            "The differences of this app from the environment's strategy.",
        ),
        "service": Key(
            SERVICE.schema,
            "Additions to the registration of each published instance in discovery.",
        ),
        "version": Key(
            A_VERSION,
            "The release to deploy without ``version=``. Usually set in the environment.",
        ),
        "instances": Key(
            INSTANCES,
            "The number of instances, over all nodes. Usually set in the environment.",
            default="1",
            reason=(
                "An app that must not run twice, for example a scheduler, then does so only if you say that it can. But"
                " while a single instance is down, so is the app."
            ),
        ),
    },
    instead={
        "run": [{"required": ["unit"]}, {"properties": {"source": {"required": ["container"]}}, "required": ["source"]}]
    },
    defaults=vars(App),
)
