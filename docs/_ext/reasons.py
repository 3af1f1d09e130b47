"""Why each default is what it is: table by table, the default that is meant, and the reason for it in a sentence.

Another default needs another reason, so the one that a reason is for is written beside it, as the table shows it.
"""

REASONS = {
    "app": {
        "user": (
            "app-<app>",
            "With a user of its own no app can read the secrets in another one's ``config``, or stop its processes,"
            " and none is root.",
        ),
        "data": (
            "false",
            "Most apps should keep no files, so that they can run on any node and move freely. Only the app's author"
            " knows whether it keeps files.",
        ),
        "roles": (
            "app",
            "An app that asks for nothing special keeps off load balancers and Consul servers that are nothing else;"
            " nodes without ``roles`` take it too, so that a small environment needs none.",
        ),
        "checks": (
            "a TCP connection",
            "That its port answers is all that can be asked of any app; without a check, users would be sent to one"
            " that has crashed.",
        ),
        "instances": (
            "1",
            "What must not run twice, a scheduler for example, does so only if somebody says that it can; but while"
            " one alone is down, so is the app.",
        ),
    },
    "source": {
        "strip": (
            "0",
            "An archive may have files at its top, and these are lost, without a word, where a folder is stripped"
            " that is not there.",
        ),
        "python": (
            "the system's python3",
            "It outlasts upgrades of Salt, which may replace Salt's own Python, so that releases made with that"
            " break; it is taken only where the system has none.",
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
            "So late at most it is seen that an instance went down, and so long at most users miss those of a node"
            " whose agent was restarted; more often is load on the app for little.",
        ),
        "timeout": (
            "5s",
            "With ``interval`` it is less than ``min_healthy_time``, so a wave notices a hanging release before it"
            " retires the old one. A shorter time would take out instances that are slow under load.",
        ),
    },
    "test": {
        "from": (
            "node",
            "It costs no further Salt job, as it is part of the one that starts the instance, and is the only place"
            " where a command has its release.",
        ),
        "timeout": (
            "10s",
            "The first answer after a start may take seconds; one that takes longer while nobody else asks is too"
            " late for users, and each test may hold up its wave for so long.",
        ),
    },
    "hook": {
        "timeout": (
            "5m",
            "Most migrations need less, and somebody may be waiting: a lock that others hold in the database, for"
            " one, is not waited for until the next day.",
        ),
        "once": (
            "false",
            "To run too often what prepares a node is harmless, and to leave out nodes is not.",
        ),
        "on_failure": (
            "revert",
            "What users had before served them; that the old release must not follow what a hook did, only its author"
            " can know.",
        ),
    },
    "http": {
        "status": (
            "200",
            "It is what a page has that is there; an empty answer (204) or a redirect is none, though a check, which"
            " is Consul's, takes any 2xx.",
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
            "Only a request that HAProxy understands can it send again, to another instance, when the first one fails"
            " to answer.",
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
            "A copy is to differ from what it is based on only where it says so.",
        ),
        "discovery": (
            "Consul on each machine",
            "Consul is what there is, and with an agent on each machine no address has to be kept up to date.",
        ),
    },
    "consul": {
        "datacenter": (
            "the agent's own",
            "The agent knows it; another name is needed only where several datacenters are joined.",
        ),
        "agent": (
            "http://127.0.0.1:8500",
            "There an agent listens unless it is told otherwise, and what is sent, a token for one, does not leave"
            " the machine.",
        ),
        "servers": (
            '["http://127.0.0.1:8500"]',
            "An agent on the master knows which servers there are, also once they are others; a list of them would"
            " have to be kept.",
        ),
    },
    "cluster": {
        "source": (
            "the master, else HashiCorp",
            "Nodes that the master serves need no way to the internet, and elsewhere than at HashiCorp's nobody"
            " vouches for the file.",
        ),
        "sha256": (
            "HashiCorp's SHA256SUMS",
            "A download that was cut off is found, and nobody has to look up a digest for each version and"
            " architecture.",
        ),
        "datacenter": (
            "dc1",
            "It is Consul's own, and as each environment that is set up so has its own servers, names need not differ.",
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
            "Other servers may not know the names that are known inside of a network only.",
        ),
    },
    "webhook": {
        "events": (
            "all",
            "What is left out is missed by who does not know of it, and later versions may have more events; the"
            " receiver can still pass over some.",
        ),
    },
    "strategy": {
        "type": (
            "rolling",
            "The old instance serves until users find the new one; ``recreate`` takes capacity away meanwhile, and"
            " ``blue_green`` needs all ports and memory twice.",
        ),
        "waves": (
            '[1, "100%"]',
            "What only users find is found at the cost of one node; each further wave takes ``min_healthy_time`` and"
            " some seconds more, and seldom finds what the first did not.",
        ),
        "max_failures": (
            "0",
            "Whoever has few nodes wants all of them alike; of many, only their owner knows how many may be left"
            " behind.",
        ),
        "min_healthy_time": (
            "10s",
            "These are five checks at their default ``interval``, which show what gets up and falls over again; more"
            " is added to each wave. Nomad has the same.",
        ),
        "healthy_deadline": (
            "5m",
            "With less, apps that load data for minutes are reverted; with more, one that never gets ready holds up"
            " its deployment for longer. Nomad has the same.",
        ),
        "progress_deadline": (
            "10m",
            "A wave may need ``healthy_deadline`` twice, until its instances are ready and until users find them, and"
            " less would cut that off; an installation has as long. Nomad has the same.",
        ),
        "drain": (
            "30s",
            "It ends with the last connection, so that only clients which keep theirs open cost the wave so much;"
            " with less, long requests are cut off. Kamal has the same.",
        ),
        "deregister_delay": (
            "2s",
            "HAProxy, as it is set up here, asks once a second, and what it is told is a tenth of a second old;"
            " instances stopped at once lost requests, and more than needed is added to each wave.",
        ),
        "auto_revert": (
            "true",
            "What users had before served them, and a fleet that is half deployed at night would wait for somebody to"
            " look.",
        ),
        "keep_old": (
            "10m",
            "It is long enough to see in a release's figures that it is bad, and short enough that memory is needed"
            " twice for a while only.",
        ),
        "pause": (
            "0",
            "A release that waits for somebody who does not know of it leaves users with two, and the next deployment"
            " refused.",
        ),
        "canary_weight": (
            "full",
            "A share reaches those clients only that go by weights, and plain DNS names have none: who asks for a"
            " share has to know what clients do.",
        ),
        "when_paused": (
            "refuse",
            "Who deploys next may not know that somebody still looks at a canary, and would decide on it by accident.",
        ),
        "keep_releases": (
            "5",
            "A rollback to a version that is named takes one that is installed: fewer leave little to choose from,"
            " and each more takes its room on every node. Kamal has the same.",
        ),
    },
    "analysis": {
        "interval": (
            "30s",
            "It is twice what Prometheus waits between two looks at an app in its own example, so that each"
            " measurement has news.",
        ),
        "count": (
            "3",
            "One may be luck; with the default ``interval``, three watch a wave for a minute and a half, and each"
            " more makes it longer.",
        ),
        "failure_limit": (
            "0",
            "Users have the release already: a bad one that stays costs them more than a good one that is tried again.",
        ),
        "timeout": (
            "10s",
            "It is a test's: what takes longer to answer says nothing good either, and commands of several gates wait"
            " for one another.",
        ),
    },
}
