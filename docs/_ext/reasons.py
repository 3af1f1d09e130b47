"""The reason for each default, table by table: the default as the table shows it, and its reason in sentences.

Another default needs another reason, so each default is written beside its reason.
"""

REASONS = {
    "app": {
        "user": (
            "app-<app>",
            "With a user of its own, no app can read the secrets in the ``config`` of another app, or stop its"
            " processes. No app is root.",
        ),
        "data": (
            "false",
            "Most apps should keep no files, so that they can run on any node and move freely. Only the app's author"
            " knows whether it keeps files.",
        ),
        "roles": (
            "app",
            "An app without special needs keeps off load balancers and Consul servers that have no other purpose. Nodes"
            " without ``roles`` take it too, so a small environment needs no roles.",
        ),
        "checks": (
            "a TCP connection",
            "Every app with a port can answer this check. Without any check, clients would be sent to an instance that"
            " has crashed.",
        ),
        "instances": (
            "1",
            "An app that must not run twice, for example a scheduler, then does so only if you say that it can. But"
            " while a single instance is down, so is the app.",
        ),
    },
    "source": {
        "strip": (
            "0",
            "An archive may have files at its top. They would be lost without a word if saltdeploy stripped a folder"
            " that does not exist.",
        ),
        "python": (
            "the system's python3",
            "It outlasts upgrades of Salt, which may replace Salt's own Python and so break releases made with it."
            " saltdeploy takes Salt's Python only if the system has none.",
        ),
        "index": (
            "the node's own",
            "A site with its own index has set it in ``/etc/pip.conf`` for every program that uses pip, and everybody"
            " else uses PyPI.",
        ),
    },
    "check": {
        "interval": (
            "2s",
            "Consul notices a dead instance after this time at most. After a restart of an agent, clients miss the"
            " node's instances for as long. A shorter interval puts load on the app for little gain.",
        ),
        "timeout": (
            "5s",
            "With ``interval`` it is less than ``min_healthy_time``, so a wave notices a hanging release before it"
            " retires the old release. A shorter time would take out instances that are slow under load.",
        ),
    },
    "test": {
        "from": (
            "node",
            "It costs no further Salt job, because the job that starts the instance also tests it. Only there does a"
            " command have its release.",
        ),
        "timeout": (
            "10s",
            "The first answer after a start may take seconds. An answer after this time, while nobody else asks, is too"
            " late for clients. Each test may hold up its wave for so long.",
        ),
    },
    "hook": {
        "timeout": (
            "5m",
            "Most migrations need less, and somebody may be waiting. For example, a hook must not wait until the next"
            " day for a lock in the database.",
        ),
        "once": (
            "false",
            "If a hook prepares a node, it is harmless to run it too often. It is not harmless to leave out nodes.",
        ),
        "on_failure": (
            "revert",
            "The old release served clients well. Only the author of a hook can know that the old release must not run"
            " after it.",
        ),
    },
    "http": {
        "status": (
            "200",
            "An existing page answers with it. An empty answer (204) or a redirect is no page. A check belongs to"
            " Consul and accepts any 2xx.",
        ),
    },
    "stop": {
        "signal": (
            "TERM",
            "Service managers use this signal to ask a process to end, and most programs finish their work on it.",
        ),
        "timeout": (
            "10s",
            "An instance drains before it stops, so its requests have ended. An app with longer jobs needs its own"
            " value, because a wave waits this long for each process that hangs. Docker has the same.",
        ),
    },
    "frontend": {
        "mode": (
            "http",
            "HAProxy must understand a request to send it again, to another instance, when the first instance fails to"
            " answer.",
        ),
        "timeout": (
            "5m",
            "Exports and uploads take minutes, and an instance may have carried out a request that HAProxy cuts off."
            " The check finds an instance that hangs long before.",
        ),
    },
    "environment": {
        "scale": (
            "1",
            "A copy should differ from its base only if it says so.",
        ),
        "discovery": (
            "Consul on each machine",
            "Consul is the only choice. With an agent on each machine, you need not keep any address up to date.",
        ),
    },
    "consul": {
        "datacenter": (
            "the agent's own",
            "The agent knows it. You need another name only if several datacenters are joined.",
        ),
        "agent": (
            "http://127.0.0.1:8500",
            "An agent listens there unless you configure another address. A token that is sent there does not leave the"
            " machine.",
        ),
        "servers": (
            '["http://127.0.0.1:8500"]',
            "An agent on the master knows the current servers, also after they change. You would have to maintain a"
            " list of servers.",
        ),
    },
    "cluster": {
        "source": (
            "the master, else HashiCorp",
            "Nodes that the master serves need no connection to the internet. Outside of HashiCorp, nobody vouches for"
            " the file.",
        ),
        "sha256": (
            "HashiCorp's SHA256SUMS",
            "It detects a broken download, and you need not look up a digest for each version and architecture.",
        ),
        "datacenter": (
            "dc1",
            "It is Consul's own default. Each such environment has its own servers, so the names need not differ.",
        ),
    },
    "dns": {
        "resolver": (
            "dnsmasq",
            "It asks the servers that the node had. unbound asks the root instead, which firewalls block and which does"
            " not know internal names. With systemd-resolved, all other names go through Consul, too.",
        ),
        "upstream": (
            "the node's own",
            "Other servers may not know names that only the internal network knows.",
        ),
    },
    "webhook": {
        "events": (
            "all",
            "You may not notice that an event is left out, and later versions may have more events. The receiver can"
            " still ignore some.",
        ),
    },
    "strategy": {
        "type": (
            "rolling",
            "The old instance serves until clients find the new instance. ``recreate`` takes capacity away meanwhile,"
            " and ``blue_green`` needs all ports and memory twice.",
        ),
        "waves": (
            '[1, "100%"]',
            "Faults that only clients find affect a single node. Each further wave takes ``min_healthy_time`` and some"
            " seconds more, and seldom finds faults that the first wave did not.",
        ),
        "max_failures": (
            "0",
            "With few nodes, you want all of them alike. With many nodes, only you know how many may be left behind.",
        ),
        "min_healthy_time": (
            "10s",
            "This is the time of five checks at their default ``interval``, which detect a process that starts and"
            " crashes again. A longer time makes each wave longer. Nomad has the same.",
        ),
        "healthy_deadline": (
            "5m",
            "A shorter time reverts apps that load data for minutes. With a longer time, an instance that never gets"
            " ready holds up its deployment for longer. Nomad has the same.",
        ),
        "progress_deadline": (
            "10m",
            "A wave may need ``healthy_deadline`` twice: until its instances are ready, and until clients find them. A"
            " shorter time would cut that off. An installation has as long. Nomad has the same.",
        ),
        "drain": (
            "30s",
            "Draining ends with the last connection, so only clients that keep theirs open cost the wave so much. A"
            " shorter time cuts off long requests. Kamal has the same.",
        ),
        "deregister_delay": (
            "2s",
            "HAProxy, as it is set up here, asks once a second, and gets an answer that is a tenth of a second old."
            " Instances that stopped at once lost requests. A longer delay makes each wave longer.",
        ),
        "auto_revert": (
            "true",
            "The old instances served clients well. At night, a half deployed fleet would wait for somebody to look.",
        ),
        "keep_old": (
            "10m",
            "It is long enough to see a bad release in its figures, and short enough that memory is needed twice only"
            " for a while.",
        ),
        "pause": (
            "0",
            "If nobody knows that a release waits, clients keep two releases, and saltdeploy refuses the next"
            " deployment.",
        ),
        "canary_weight": (
            "full",
            "A share works only with clients that use weights, and plain DNS names have no weights. Before you ask for"
            " a share, you must know your clients.",
        ),
        "when_paused": (
            "refuse",
            "The next operator may not know that somebody still looks at a canary, and would decide on it by accident.",
        ),
        "keep_releases": (
            "5",
            "A rollback to a named version needs an installed release. A lower number leaves little choice, and each"
            " further release takes room on every node. Kamal has the same.",
        ),
    },
    "analysis": {
        "interval": (
            "30s",
            "It is twice the time between two looks of Prometheus at an app in its own example, so each measurement has"
            " news.",
        ),
        "count": (
            "3",
            "A single good measurement may be luck. With the default ``interval``, three of them watch a wave for a"
            " minute and a half. Each further measurement makes this longer.",
        ),
        "failure_limit": (
            "0",
            "Clients have the release already. A bad release that stays costs them more than a second try of a good"
            " release.",
        ),
        "timeout": (
            "10s",
            "It is the timeout of a test. A later answer says nothing good either, and commands of several gates wait"
            " for one another.",
        ),
    },
}
