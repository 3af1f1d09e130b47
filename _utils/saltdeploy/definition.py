"""Pillar in, validated App and Environment out. Pure: no files, no network, no Salt calls."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace

from . import (
    analysis,
    bluegreen,
    bounds,
    clashes,
    cluster,
    events,
    hooks,
    names,
    placeholders,
    schema,
    strategies,
    traffic,
    urls,
    validation,
    words,
)
from .errors import DefinitionError, Refused
from .model import App, Environment, Node, PortRange, Probe, Source
from .words import nearest, shown

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
VERSION = re.compile(schema.VERSION)


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
    known = sorted(_named(pillar, "environments"))
    if not known:
        raise Refused(
            "no environment is defined: pillar `environments` is empty for this master."
            " Match the master's own pillar id in pillar/top.sls (see docs: your own master)."
        )
    if name is None:
        if len(known) > 1:
            raise Refused(f"which environment? Say env=NAME, one of: {words.listed(known)}")
        return known[0]
    if name not in known:
        raise Refused(
            f"unknown environment {shown(name)}{nearest(name, known)}{words.odd(name)}. Defined: {words.listed(known)}"
        )
    return name


def load(pillar, env=None, validate=validation.validate):
    """Return the Environment named ``env`` with each of its apps resolved.

    :param pillar: a mapping with the keys ``apps`` and ``environments``.
    :param env: the environment's name; None means the only one.
    :param validate: ``validate(definitions)`` raises DefinitionError where they are not as the schema has them.
    :raises DefinitionError: naming key path, what was found, what is allowed.
    """
    name = choose_environment(pillar, env)
    apps = _named(pillar, "apps")
    chain = _chain(pillar["environments"], name)
    used = {app for link in chain for app in _mapping(pillar["environments"][link], "apps")}
    wanted = {
        "apps": {a: apps[a] for a in apps if a in used},
        "environments": {link: pillar["environments"][link] for link in chain},
    }
    bounds.check(wanted)
    urls.refuse_secrets(wanted)
    validate(wanted)
    raw = resolve(pillar["environments"], name)
    where = f"environments:{name}"
    for app in raw["apps"]:
        if app not in apps:
            raise DefinitionError(
                f"{where}:apps:{app}: there is no such app{nearest(app, apps)}. Defined under `apps`: "
                + words.listed(apps)
            )
    nodes = {n: Node(n, d["address"], tuple(d.get("roles", ())), d.get("zone", "")) for n, d in raw["nodes"].items()}
    clashes.check(where, raw, apps)
    if cluster.wanted(raw):
        cluster.identities(name, raw)  # which says what is wrong with them
    environment = Environment(
        name=name,
        nodes=nodes,
        apps={a: _app(a, merge(apps[a], s or {}), raw, where) for a, s in raw["apps"].items()},
        discovery=raw.get("discovery") or {"consul": {}},
        webhook=events.webhook(raw.get("notify") or {}, f"{where}:notify"),
    )
    for app in environment.apps.values():
        bluegreen.check_room(app, len(environment.eligible(app)))
        if any(test.origin == "peer" for test in app.tests) and len(nodes) < 2:
            raise DefinitionError(
                f"apps:{app.name}:tests: a test is `from: peer`, but environment {name} has one node."
                " Add a node, or test `from: master`."
            )
    return environment


def load_own(minion, pillar, validate=validation.validate_again):
    """Return the Environment that ``minion`` is a node of, from its own pillar.

    :param validate: as for :func:`load`.
    :raises Refused: it is a node of none, or its pillar could not be rendered.
    """
    if pillar.get("_errors"):
        raise Refused(f"the pillar of {minion} has errors: {'; '.join(map(str, pillar['_errors']))}")
    if not pillar.get("environments"):
        raise Refused(f"{minion} is a node of no environment: add it to `nodes` of one, then saltutil.refresh_pillar.")
    try:
        environment = load(pillar, validate=validate)
    except bounds.WRONG_SHAPE as exc:  # only without jsonschema on the node; the master has it
        raise bounds.misshapen(f"the definitions in the pillar of {minion}", exc) from exc
    if minion not in environment.nodes:
        raise Refused(f"{minion} is not a node of environment {environment.name}: add it to its `nodes`.")
    return environment


def find_app(environment, name):
    """Return the App called ``name`` in ``environment``; Refused names the nearest if there is none."""
    if not isinstance(name, str) or name not in environment.apps:
        known = sorted(environment.apps)
        raise Refused(
            f"unknown app {shown(name)} in environment {environment.name}{nearest(name, known)}{words.odd(name)}. "
            f"Apps there: {words.listed(known)}"
        )
    return environment.apps[name]


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
            f"version {shown(version)} was read as a number and may have lost digits: {_quoted(app, version)}"
        )
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise Refused(
            f"version {shown(version)} is not usable: allowed is {schema.VERSION} (at most 63 characters)"
            f"{words.odd(version)}"
        )
    return version


def _quoted(app, number):
    """Return what to type instead of a version that was read as ``number``: those known that it may have been."""
    digests = app.source.sha256 if isinstance(app.source.sha256, dict) else ()
    known = [v for v in digests if re.fullmatch(r"[0-9]+(\.[0-9]+)?", v) and float(v) == number]
    return f"quote it twice, {' or '.join(map(_twice, known))}" if known else names.AS_TEXT


def _twice(version):
    return f"version=\"'{version}'\""


def resolve(environments, name):
    """Return the raw mapping of an environment with ``based_on`` merged in and ``scale`` applied."""
    raw = {}
    for link in reversed(_chain(environments, name)):
        own = {k: v for k, v in environments[link].items() if k not in ("based_on", "scale", "nodes")}
        raw = merge(raw, own)
        raw["apps"] = {a: dict(s or {}) for a, s in (raw.get("apps") or {}).items()}
        scale = environments[link].get("scale", 1)
        stated = _mapping(environments[link], "apps")
        for app, settings in raw["apps"].items():
            if "instances" in settings and "instances" not in (stated.get(app) or {}):
                settings["instances"] = max(1, math.floor(settings["instances"] * scale + 0.5))
    raw["nodes"] = copy.deepcopy(environments[name]["nodes"])
    return raw


def own_environment(environments, minion):
    """Return ``{"environments": {name: resolved}}`` for the one environment that lists ``minion``.

    This is all of ``environments`` that a node's pillar holds: no base, no other environment.

    :raises DefinitionError: two environments list the same minion.
    """
    mine = [name for name, env in environments.items() if minion in _mapping(env, "nodes")]
    if len(mine) > 1:
        both = " and ".join(sorted(map(words.name, mine))[:2])
        raise DefinitionError(f"environments: {minion} is a node of both {both}: keep it in one.")
    try:
        return {"environments": {name: events.for_node(resolve(environments, name)) for name in mine}}
    except bounds.WRONG_SHAPE as exc:
        raise bounds.misshapen(f"environments:{words.name(mine[0])}", exc) from exc


def _named(pillar, key):
    """Return the mapping of names under ``key``, which may be absent."""
    found = pillar.get(key) or {}
    if not isinstance(found, dict):
        raise DefinitionError(f"{key}: found {shown(found)}, allowed is a mapping of name to definition")
    for name in found:
        if not isinstance(name, str):
            hint = words.reading(name)
            raise DefinitionError(f"{key}: found the name {shown(name)}, allowed is text (quote a number){hint}")
    return found


def _chain(environments, name):
    chain = []
    while name:
        if name in chain:
            raise DefinitionError(f"environments:{name}:based_on: goes round in a circle: {' > '.join([*chain, name])}")
        if len(chain) == bounds.BASES:
            raise DefinitionError(
                f"environments:{chain[0]}:based_on: at most {bounds.BASES} may be based on one another"
            )
        if not isinstance(name, str) or name not in environments:
            raise DefinitionError(
                f"environments:{words.name((chain or [name])[-1])}:based_on: there is no environment {shown(name)}"
                f"{nearest(name, environments)}. Defined: {words.listed(environments)}"
            )
        chain.append(name)
        env = environments[name]
        name = env.get("based_on") if isinstance(env, dict) else None
    return chain


def _app(name, raw, env, where):
    at = f"apps:{name}"
    merged = merge(env.get("strategy") or {}, raw.get("strategy") or {})
    strategy = strategies.parse(merged, at if raw.get("strategy") else where, duration)
    strategy = replace(strategy, analysis=_gates(raw, env, at, where))
    app = App(
        name=name,
        source=_source(raw["source"], f"{at}:source"),
        run=raw["run"],
        version=raw.get("version", ""),
        instances=raw.get("instances", 1),
        user=raw.get("user", "") or _default_user(name, at),
        packages=tuple(raw.get("packages", ())),
        states=tuple(raw.get("states", ())),
        config=dict(raw.get("config", {})),
        env={k: _env_value(v) for k, v in raw.get("env", {}).items()},
        ports=_ports(raw.get("ports"), f"{at}:ports"),
        requires=tuple(raw.get("requires", ())),
        roles=tuple(raw.get("roles", ())),
        checks=tuple(probe(c, f"{at}:checks:{i}") for i, c in enumerate(raw.get("checks", ()))),
        tests=tuple(probe(t, f"{at}:tests:{i}") for i, t in enumerate(raw.get("tests", ()))),
        hooks=hooks.parse(raw.get("hooks", {}), f"{at}:hooks", duration),
        strategy=strategy,
        memory=raw.get("resources", {}).get("memory", ""),
        cpu=raw.get("resources", {}).get("cpu", ""),
    )
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


def _default_user(name, at):
    user = f"app-{name}"
    if len(user) > 32:
        raise DefinitionError(f"{at}:user: set it, the name is too long to make a user name of (`{user}`, at most 32).")
    return user


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


def probe(raw, at):
    """Return the Probe that a check or test describes; ``at`` is its key path, for messages."""
    kinds = [k for k in ("http", "tcp", "command") if k in raw]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        raise DefinitionError(f"{at}: needs exactly one of http, tcp and command, found {found}.")
    kind = kinds[0]
    if kind == "command" and raw.get("from", "node") != "node":
        raise DefinitionError(f"{at}:from: a command runs where the release is installed: `node` is allowed only.")
    times = {key: duration(raw.get(key, default)) for key, default in (("interval", "2s"), ("timeout", "10s"))}
    for key, seconds in times.items():
        if not 0 < seconds <= bounds.DURATION:
            raise DefinitionError(
                f"{at}:{key}: found {shown(raw[key])}, allowed is more than 0, up to {bounds.LONGEST}"
            )
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
    usable = [name for name in placeholders.PLACEHOLDERS if name != "port" or "ports" in raw]
    return analysis.gates(written.get("analysis", ()), f"{at}:strategy:analysis", duration, usable)


def _check_placeholders(app, at):
    texts = [("run", app.run)]
    texts += [(f"env:{k}", v) for k, v in app.env.items()]
    texts += [(f"tests:{i}:command", t.target) for i, t in enumerate(app.tests) if t.kind == "command"]
    texts += hooks.texts(app)
    for key, text in texts:
        for name in placeholders.check(text, f"{at}:{key}", command=not key.startswith("env:")):
            if name == "port" and key.startswith("hooks:"):
                raise DefinitionError(f"{at}:{key}: {text!r}: {hooks.NO_PORT}")
            if name == "port" and app.ports is None:
                raise DefinitionError(f"{at}:ports: is missing, and {key} uses {{port}}.")
    listens = [p for p in (*app.checks, *app.tests) if p.kind in ("http", "tcp")]
    if listens and app.ports is None:
        raise DefinitionError(f"{at}:ports: is missing, and the {listens[0].kind} check or test needs a port.")


def merge(base, over):
    """Return ``base`` with ``over`` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _mapping(env, key):
    value = env.get(key) if isinstance(env, dict) else None
    return value if isinstance(value, dict) else {}
