"""Pillar in, validated App and Environment out. Pure: no files, no network, no Salt calls."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import PurePosixPath

from . import (
    addresses,
    analysis,
    bluegreen,
    bounds,
    clashes,
    cluster,
    events,
    hooks,
    inheritance,
    instancefiles,
    names,
    placeholders,
    schema,
    stopping,
    strategies,
    traffic,
    urls,
    validation,
    words,
)
from .errors import DefinitionError, Refused
from .inheritance import left_out, mapping, merge, named, resolve
from .model import App, Environment, Frontend, Node, PortRange, Probe, Source
from .words import nearest, shown

# What an app cannot write to, or does not find again, in the sandbox of its unit: see runtime/systemd.py.
PROTECTED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/efi", "/etc", "/home", "/root", "/run")
CLEARED = ("/tmp", "/var/tmp", "/proc", "/sys", "/dev")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
VERSION = re.compile(schema.VERSION)
# How long a test may take that does not say it, in seconds.
TEST_TIMEOUT = 10.0


def duration(value):
    """Return ``value`` (seconds, or ``500ms``, ``10s``, ``5m``, ``1h``) as a float of seconds."""
    if isinstance(value, (int, float)):
        return float(value)
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", value).groups()
    return float(number) * UNITS[unit]


def choose_environment(pillar, name=None):
    """Return the environment's name: ``name`` if it is defined, else the only one there is.

    :raises Refused: it is unknown, there is none, or there are several and none was named.
    """
    known = sorted(named(pillar, "environments"))
    unread = left_out(inheritance.unread(pillar), name if isinstance(name, str) else "")
    if not known:
        raise Refused(
            "no environment is defined: pillar `environments` is empty for this master."
            + (unread or " Match the master's own pillar id in pillar/top.sls (see docs: your own master).")
        )
    if name is None:
        # What a file that cannot be read holds may be the one that is meant.
        if len(known) > 1 or "environments" in unread:
            raise Refused(f"which environment? Say env=NAME, one of: {words.listed(known)}.{unread}")
        return known[0]
    if name not in known:
        raise Refused(
            f"unknown environment {shown(name)}{nearest(name, known)}{words.odd(name)}. Defined: {words.listed(known)}."
            f"{unread}"
        )
    return name


def only_with(pillar, app):
    """Return the name of the one environment that has ``app``, None if there are more, or none.

    An environment with errors has none: it is named when somebody asks for it.
    """
    found = []
    for name in named(pillar, "environments"):
        with contextlib.suppress(DefinitionError):
            links = inheritance.chain(pillar["environments"], name)
            found += [name] if any(app in mapping(pillar["environments"][link], "apps") for link in links) else []
    return found[0] if len(found) == 1 else None


def load(pillar, env=None, problems=validation.problems):
    """Return the Environment named ``env`` with each of its apps resolved.

    An app whose own definition is wrong is none of its ``apps``: what is wrong is in ``broken``, and :func:`find_app`
    raises it. So nobody else's mistake is in the way of an app.

    :param pillar: a mapping with the keys ``apps``, ``environments``, and ``saltdeploy_broken`` (file -> why it is left
        out) where there is one.
    :param env: the environment's name; None means the only one.
    :param problems: ``problems(definitions)`` returns what is not as the schema has it, see validation.problems; None
        where nothing can tell.
    :raises DefinitionError: the environment is wrong, naming key path, what was found, what is to be written.
    """
    unread = inheritance.unread(pillar)
    name = choose_environment(pillar, env)
    apps = named(pillar, "apps")
    environments = pillar["environments"]
    chain = inheritance.chain(environments, name, unread)
    used = {app for link in chain for app in mapping(environments[link], "apps")}
    links = {link: environments[link] for link in chain}
    wanted = {"apps": {a: apps[a] for a in apps if a in used}, "environments": links}
    found = problems(wanted)
    wrong = found or {}
    if validation.ENVIRONMENT in wrong:
        raise DefinitionError(validation.listed(wrong[validation.ENVIRONMENT]))
    broken = {app: validation.listed(said) for app, said in wrong.items()}
    broken.update(urls.secrets(wanted))
    raw = resolve(environments, name, broken)
    where = f"environments:{name}"
    for app in raw["apps"]:
        if not isinstance(app, str):
            broken[shown(app)] = f"{where}:apps: {inheritance.no_text(app)}"
        elif app not in apps:
            broken.setdefault(app, _undefined(app, apps, where, unread))
    clashes.check(where, raw)
    if cluster.wanted(raw):
        cluster.identities(name, raw)  # which says what is wrong with them
    environment = Environment(
        name=name,
        nodes={n: _node(n, about, where) for n, about in raw["nodes"].items()},
        apps={},
        discovery=raw.get("discovery") or {"consul": {}},
        webhook=events.webhook(raw.get("notify") or {}, f"{where}:notify"),
        upstream=_upstream(raw.get("dns") or {}, f"{where}:dns:upstream"),
        broken=broken,
        unread=unread,
    )
    _fill(environment, raw, apps, where, validated=found is not None)
    return environment


def _fill(environment, raw, apps, where, validated):
    """Resolve each app of ``environment``, into ``apps`` or ``broken``.

    :param validated: False where jsonschema is missing. An app may then have any shape.
    """
    good = {}
    for name, settings in raw["apps"].items():
        if name in apps and name not in environment.broken:
            if isinstance(apps[name], dict) and isinstance(settings or {}, dict):
                good[name] = merge(apps[name], settings or {})
            else:  # only without jsonschema on a node
                environment.broken[name] = f"apps:{words.name(name)}: found something that is no mapping"
    clashing = clashes.of_apps(where, good)
    for name, merged in good.items():
        try:
            if name in clashing:
                raise DefinitionError(clashing[name])
            app = _app(name, merged, raw, where)
            bluegreen.check_room(app, len(environment.eligible(app)))
            _refuse_lonely_peers(app, environment)
        except DefinitionError as exc:
            environment.broken[name] = str(exc)
        except bounds.WRONG_SHAPE as exc:
            if validated:
                raise
            environment.broken[name] = str(bounds.misshapen(f"apps:{words.name(name)}", exc))
        else:
            environment.apps[name] = app


def _refuse_lonely_peers(app, environment):
    if any(test.origin == "peer" for test in app.tests) and len(environment.nodes) < 2:
        raise DefinitionError(
            f"apps:{app.name}:tests: a test is `from: peer`, but environment {environment.name} has one node."
            " Add a node, or test `from: master`."
        )


def _undefined(app, apps, where, unread):
    """Return what is said of an app that an environment has, and ``apps`` has not."""
    defined = f" Defined under `apps`: {words.listed(apps)}."
    return f"{where}:apps:{words.name(app)}: there is no such app{nearest(app, apps)}.{defined}{left_out(unread, app)}"


def load_own(minion, pillar, problems=validation.problems_again):
    """Return the Environment that ``minion`` is a node of, from its own pillar.

    :param problems: as for :func:`load`.
    :raises Refused: it is a node of none, or its pillar could not be rendered.
    """
    if not pillar.get("environments"):
        errors = "; ".join(map(str, pillar.get("_errors") or ()))
        if errors:
            raise Refused(f"the pillar of {minion} has errors: {errors}")
        raise Refused(
            f"{minion} is a node of no environment: add it to `nodes` of one, then saltutil.refresh_pillar."
            + left_out(inheritance.unread(pillar))
        )
    try:
        names = sorted(named(pillar, "environments"))
        environment = load(pillar, names[0] if len(names) == 1 else None, problems)
    except Refused:
        raise
    except bounds.WRONG_SHAPE as exc:  # only without jsonschema on the node; the master has it
        raise bounds.misshapen(f"the definitions in the pillar of {minion}", exc) from None
    if minion not in environment.nodes:
        raise Refused(f"{minion} is not a node of environment {environment.name}: add it to its `nodes`.")
    return environment


def find_app(environment, name):
    """Return the App called ``name`` in ``environment``.

    :raises DefinitionError: its definition is wrong. :raises Refused: there is none; the nearest is named.
    """
    name = find_name(environment, name)
    if name in environment.broken:
        raise DefinitionError(environment.broken[name])
    return environment.apps[name]


def find_name(environment, name):
    """Return ``name`` if it is an app's in ``environment``, whose definition may be wrong; Refused if it is not."""
    known = environment.names
    if not isinstance(name, str) or name not in known:
        raise Refused(
            f"unknown app {shown(name)} in environment {environment.name}{nearest(name, known)}{words.odd(name)}. "
            f"Apps there: {words.listed(known)}.{left_out(environment.unread, name if isinstance(name, str) else '')}"
        )
    return name


def known_by_name(environment, name):
    """Return the App called ``name``; one without settings where its definition is wrong.

    For what looks at instances, or stops to look after them: it needs no definition.

    :raises Refused: there is none.
    """
    name = find_name(environment, name)
    return environment.apps.get(name) or App(name=name, source=None, run="")


def check_version(app, version):
    """Return the version to deploy: ``version``, else the definition's; Refused if it is not usable."""
    version = usable_version(app, version)
    digests = app.source.sha256
    if isinstance(digests, dict) and version not in digests:
        raise Refused(
            f"unknown version {version} of {app.name}{nearest(version, digests)}: no digest of it under"
            f" apps:{app.name}:source:sha256 (there: {words.listed(digests)})"
        )
    return version


def usable_version(app, version):
    """Return the version meant: ``version``, else the definition's; Refused if it cannot be one."""
    if version is None or version == "":
        if not app.version:
            raise Refused(
                f"which version of {app.name}? Say version=…, or set `version` for it in the environment's apps."
            )
        return app.version
    if isinstance(version, (int, float)) and not isinstance(version, bool):
        raise Refused(
            f"version {shown(version)} was read as a number, and digits may be lost (3.10 becomes 3.1)."
            f" {_quoted(app, version)}"
        )
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise Refused(
            f"version {shown(version)} is not usable. Write {schema.A_VERSION['description']}{words.odd(version)}"
        )
    return version


def _quoted(app, number):
    """Return what to type instead of a version that was read as ``number``: those known that it may have been."""
    digests = app.source.sha256 if app.source and isinstance(app.source.sha256, dict) else ()
    known = [v for v in digests if re.fullmatch(r"[0-9]+(\.[0-9]+)?", v) and float(v) == number]
    return f"Quote it twice: {' or '.join(map(_twice, known))}." if known else names.AS_TEXT


def _twice(version):
    return f"version=\"'{version}'\""


def _node(name, raw, where):
    found = addresses.of_node(raw["address"], f"{where}:nodes:{words.name(name)}:address")
    return Node(name, found, tuple(raw.get("roles", ())), raw.get("zone", ""))


def _upstream(dns, at):
    return tuple(addresses.server(text, f"{at}:{number}") for number, text in enumerate(dns.get("upstream") or ()))


def _frontend(raw, at):
    if raw is None:
        return None
    given = {key: raw[key] for key in ("port", "mode") if key in raw}
    if "timeout" in raw:
        given["timeout"] = positive(raw["timeout"], f"{at}:timeout", bounds.HAPROXY)
    proxies = enumerate(raw.get("trusted_proxies", ()))
    trusted = tuple(addresses.network(text, f"{at}:trusted_proxies:{number}") for number, text in proxies)
    return Frontend(**given, trusted_proxies=trusted)


def positive(value, at, most=bounds.DURATION):
    """Return a duration in seconds, more than 0 and at most ``most``; ``at`` is its key path, for messages."""
    seconds = duration(value)
    if not 0 < seconds <= most:
        raise DefinitionError(f"{at}: found {shown(value)}, allowed is more than 0, up to {most / 86400:g} days")
    return seconds


def _app(name, raw, env, where):
    at = f"apps:{name}"
    merged = merge(env.get("strategy") or {}, raw.get("strategy") or {})
    strategy = strategies.parse(merged, at if raw.get("strategy") else where, duration)
    strategy = replace(strategy, analysis=_gates(raw, env, at, where))
    app = App(
        name=name,
        # Where an app may not run, a node has neither.
        source=_source(raw["source"], f"{at}:source") if "source" in raw else None,
        run=raw.get("run", ""),
        version=raw.get("version", ""),
        instances=raw.get("instances", 1),
        user=raw.get("user", "") or _default_user(name, at),
        data=_data(raw.get("data", False), f"{at}:data"),
        packages=tuple(raw.get("packages", ())),
        states=tuple(raw.get("states", ())),
        config=dict(raw.get("config", {})),
        env={k: _env_value(v) for k, v in raw.get("env", {}).items()},
        ports=_ports(raw.get("ports"), f"{at}:ports"),
        requires=tuple(raw.get("requires", ())),
        roles=tuple(raw.get("roles", ())),
        checks=tuple(probe(c, f"{at}:checks:{i}") for i, c in enumerate(raw.get("checks", ()))),
        tests=tuple(probe(t, f"{at}:tests:{i}", TEST_TIMEOUT) for i, t in enumerate(raw.get("tests", ()))),
        hooks=hooks.parse(raw.get("hooks", {}), f"{at}:hooks", duration),
        strategy=strategy,
        memory=raw.get("resources", {}).get("memory", ""),
        cpu=raw.get("resources", {}).get("cpu", ""),
        frontend=_frontend(raw.get("frontend"), f"{at}:frontend"),
        stop=stopping.parse(raw.get("stop", {}), f"{at}:stop", duration),
    )
    instancefiles.check(app.config, f"{at}:config")
    _check_placeholders(app, at)
    traffic.check(strategy, at if "canary" in (raw.get("strategy") or {}) else where)
    bluegreen.check(app, raw.get("strategy") or {}, env.get("strategy") or {}, at, where)
    if app.in_place and (app.ports is None or len(app.ports) != 1):
        at = at if "replace" in (raw.get("strategy") or {}) else where
        raise DefinitionError(
            f"{at}:strategy:replace: in_place is for an app with one port, and {name} has {app.ports or 'none'}:"
            f" say `beside` for it (apps:{name}:strategy:replace), or give it one port (apps:{name}:ports)."
        )
    return app


def _refuse_placeholders(text, at, allowed=()):
    """Raise DefinitionError if a placeholder is in ``text`` that is not filled in there. Other braces are its own."""
    for name in analysis.PLACEHOLDER.findall(text):
        if name in placeholders.PLACEHOLDERS and name not in allowed:
            usable = f"Filled in are {', '.join(allowed)}." if allowed else "None is, as Consul asks for it literally."
            raise DefinitionError(f"{at}: the placeholder {{{name}}} is not filled in there. {usable}")


def _default_user(name, at):
    user = f"app-{name}"
    if len(user) > 32:
        raise DefinitionError(f"{at}:user: set it, the name is too long to make a user name of (`{user}`, at most 32).")
    return user


def _data(value, at):
    """Return where an app keeps its data: a path that systemd lets it write to; True: the usual place, False: none."""
    if not isinstance(value, str):
        return value
    path = PurePosixPath(value)
    closed = [PurePosixPath(p) for p in (*PROTECTED, *CLEARED)]
    if any(path == other or path in other.parents or other in path.parents for other in closed):
        raise DefinitionError(
            f"{at}: systemd protects {path} from apps, or clears it: name a folder elsewhere, below /srv or /var/lib."
        )
    return str(path)


def _env_value(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


# What has a meaning with one kind of source only.
ONLY = {"archive": {"strip", "headers", "token_file"}, "pip": {"requirements", "python", "index"}}


def _source(raw, at):
    kinds = [k for k in ("archive", "pip") if k in raw]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "neither"
        raise DefinitionError(f"{at}: needs exactly one of `archive` and `pip`, found {found}.")
    kind = kinds[0]
    if kind == "archive" and "sha256" not in raw:
        raise DefinitionError(f"{at}:sha256: is missing: an archive is only unpacked when its digest is known.")
    stray = sorted(set(raw) & ONLY["pip" if kind == "archive" else "archive"])
    if stray:
        raise DefinitionError(f"{at}:{stray[0]}: has no meaning with `{kind}`.")
    if kind == "pip" and isinstance(raw.get("sha256"), str):
        raise DefinitionError(f"{at}:sha256: with `pip` it is a mapping of version to digest.")
    _check_credentials(raw, at)
    return Source(
        kind,
        raw[kind],
        sha256=raw.get("sha256"),
        strip=raw.get("strip", 0),
        requirements=tuple(raw.get("requirements", ())),
        python=raw.get("python", ""),
        index=raw.get("index", ""),
        # YAML's blocks, as gpg needs them, end with a line break.
        headers={name: value.rstrip("\n") for name, value in raw.get("headers", {}).items()},
        token_file=raw.get("token_file", ""),
        netrc=raw.get("netrc", ""),
    )


def _check_credentials(raw, at):
    """Raise DefinitionError if a source authenticates itself twice, or where nobody asks it to."""
    ways = [key for key in ("token_file", "netrc") if key in raw]
    ways += [f"headers:{name}" for name in raw.get("headers", ()) if name.lower() == "authorization"]
    if len(ways) > 1:
        raise DefinitionError(f"{at}:{ways[0]}: {ways[1]} is given too, and one of them is to be sent: leave one out.")
    given = [key for key in ("headers", "token_file", "netrc") if key in raw]
    if given and "archive" in raw and not raw["archive"].startswith(("http://", "https://")):
        raise DefinitionError(f"{at}:{given[0]}: has no meaning with an archive that is not fetched over HTTP.")


def _ports(raw, at):
    if raw is None:
        return None
    first, last = (raw, raw) if isinstance(raw, int) else (int(p) for p in raw.split("-"))
    if not 1 <= first <= last <= 65535:
        raise DefinitionError(f"{at}: `{raw}` is not a range: the first port comes first, and both are 1 to 65535.")
    return PortRange(first, last)


def probe(raw, at, timeout=Probe.timeout):
    """Return the Probe that a check or test describes.

    :param at: its key path, for messages.
    :param timeout: its timeout where it has none, in seconds.
    """
    kinds = [k for k in ("http", "tcp", "command") if k in raw]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        raise DefinitionError(f"{at}: needs exactly one of http, tcp and command, found {found}.")
    kind = kinds[0]
    if kind == "command" and raw.get("from", "node") != "node":
        raise DefinitionError(f"{at}:from: a command runs where the release is installed: `node` is allowed only.")
    defaults = (("interval", Probe.interval), ("timeout", timeout))
    times = {key: positive(raw.get(key, default), f"{at}:{key}") for key, default in defaults}
    http = raw["http"] if kind == "http" and isinstance(raw["http"], dict) else {}
    return Probe(
        kind=kind,
        target=http.get("path") or ("" if kind == "tcp" else raw[kind]),
        origin=raw.get("from", "node"),
        status=http.get("status", 200),
        contains=http.get("contains", ""),
        **times,
    )


def _gates(raw, env, at, where):
    """Return the gates of an app, its own before those of the environment, each list named where it is written."""
    own, of_environment = raw.get("strategy") or {}, env.get("strategy") or {}
    written, at = (own, at) if "analysis" in own else (of_environment, where)
    missing = {name for name, key in (("port", "ports"), ("data", "data")) if not raw.get(key)}
    usable = [name for name in placeholders.PLACEHOLDERS if name not in missing]
    return analysis.gates(written.get("analysis", ()), f"{at}:strategy:analysis", duration, usable)


def _check_placeholders(app, at):
    texts = [("run", app.run)] if app.source else []
    texts += [(f"env:{k}", v) for k, v in app.env.items()]
    texts += [(f"tests:{i}:command", t.target) for i, t in enumerate(app.tests) if t.kind == "command"]
    texts += hooks.texts(app)
    for key, text in texts:
        for name in placeholders.check(text, f"{at}:{key}", command=not key.startswith("env:")):
            if name == "port" and key.startswith("hooks:"):
                raise DefinitionError(f"{at}:{key}: {hooks.NO_PORT}")
            if name == "data" and not app.data:
                raise DefinitionError(f"{at}:data: is missing, and {key} uses {{data}}: say `data: true`, or a path.")
            if name == "port" and app.ports is None:
                raise DefinitionError(f"{at}:ports: is missing, and {key} uses {{port}}.")
    for number, check in enumerate(app.checks):
        _refuse_placeholders(check.target, f"{at}:checks:{number}:http")
    for number, test in enumerate(app.tests):
        if test.kind == "http":
            _refuse_placeholders(test.target, f"{at}:tests:{number}:http", placeholders.ELSEWHERE)
            _refuse_placeholders(test.contains, f"{at}:tests:{number}:http:contains", placeholders.ELSEWHERE)
    listens = [p for p in (*app.checks, *app.tests) if p.kind in ("http", "tcp")]
    if listens and app.ports is None:
        raise DefinitionError(f"{at}:ports: is missing, and the {listens[0].kind} check or test needs a port.")
