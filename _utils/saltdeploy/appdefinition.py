"""The definition of one app becomes an App. Pure: no files, no network, no Salt calls.

The schema has accepted the definition before, unless a node has no jsonschema. Mistakes in its meaning are found here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from . import (
    addresses,
    analysis,
    bluegreen,
    bounds,
    durations,
    hooks,
    instancefiles,
    placeholders,
    stopping,
    strategies,
    traffic,
    urls,
    words,
)
from .errors import DefinitionError
from .inheritance import merge
from .model import App, Frontend, PortRange, Probe, Source

# Folders that the unit of an app may not write to, and folders that it finds empty. See runtime/systemd.py.
PROTECTED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/efi", "/etc", "/home", "/root", "/run")
CLEARED = ("/tmp", "/var/tmp", "/proc", "/sys", "/dev")
# The timeout of a test, in seconds, if its definition has none.
TEST_TIMEOUT = 10.0
# The kinds of checks, and of tests.
CHECKS, TESTS = ("http", "tcp"), ("http", "tcp", "command")
# The keys that have a meaning with one kind of source only.
ONLY = {"archive": {"strip", "headers", "token_file"}, "pip": {"requirements", "python", "index"}}


def parse(name, raw, env, where):
    """Return the App called ``name``.

    :param raw: its definition, merged with its settings in the environment.
    :param env: the raw mapping of the environment. It may have a strategy that its apps share.
    :param where: the key path of the environment, for messages.
    :raises DefinitionError: its definition is wrong. The message has the key path.
    """
    at = f"apps:{name}"
    merged = merge(env.get("strategy") or {}, raw.get("strategy") or {})
    strategy = strategies.parse(merged, at if raw.get("strategy") else where)
    strategy = replace(strategy, analysis=_gates(raw, env, at, where))
    app = App(
        name=name,
        # A node that may not run the app knows neither its source nor its command.
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
        tests=tuple(probe(t, f"{at}:tests:{i}", TEST_TIMEOUT, TESTS) for i, t in enumerate(raw.get("tests", ()))),
        hooks=hooks.parse(raw.get("hooks", {}), f"{at}:hooks"),
        strategy=strategy,
        memory=raw.get("resources", {}).get("memory", ""),
        cpu=raw.get("resources", {}).get("cpu", ""),
        frontend=_frontend(raw.get("frontend"), f"{at}:frontend"),
        stop=stopping.parse(raw.get("stop", {}), f"{at}:stop"),
    )
    instancefiles.check(app.config, f"{at}:config")
    _check_placeholders(app, at)
    traffic.check(strategy, at if "canary" in (raw.get("strategy") or {}) else where)
    bluegreen.check(app, raw.get("strategy") or {}, env.get("strategy") or {}, at, where)
    if app.in_place and (app.ports is None or len(app.ports) != 1):
        at = at if "replace" in (raw.get("strategy") or {}) else where
        raise DefinitionError(
            f"{at}:strategy:replace: in_place is for an app with one port, and {name} has {app.ports or 'none'}."
            f" Write `beside` in apps:{name}:strategy:replace, or one port in apps:{name}:ports."
        )
    return app


def _default_user(name, at):
    user = f"app-{name}"
    if len(user) > 32:
        raise DefinitionError(f"{at}:user: the default `{user}` is too long. Write a name of at most 32 characters.")
    return user


def _source(raw, at):
    kinds = [k for k in ("archive", "pip") if k in raw]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "neither"
        raise DefinitionError(f"{at}: needs exactly one of `archive` and `pip`, found {found}.")
    kind = kinds[0]
    if kind == "archive" and "sha256" not in raw:
        raise DefinitionError(f"{at}:sha256: is missing. An archive is unpacked only if its digest is known.")
    stray = sorted(set(raw) & ONLY["pip" if kind == "archive" else "archive"])
    if stray:
        raise DefinitionError(f"{at}:{stray[0]}: has no meaning with `{kind}`.")
    if kind == "pip" and isinstance(raw.get("sha256"), str):
        raise DefinitionError(f"{at}:sha256: one digest has no meaning with `pip`. Write a digest for each version.")
    _check_credentials(raw, at)
    return Source(
        kind,
        raw[kind],
        sha256=raw.get("sha256"),
        strip=raw.get("strip", 0),
        requirements=tuple(raw.get("requirements", ())),
        python=raw.get("python", ""),
        index=raw.get("index", ""),
        # gpg needs a block in YAML, which ends with a line break.
        headers={name: value.rstrip("\n") for name, value in raw.get("headers", {}).items()},
        token_file=raw.get("token_file", ""),
        netrc=raw.get("netrc", ""),
    )


def _check_credentials(raw, at):
    """Raise DefinitionError if a source has more than one login, or one that nobody asks for, or one in a URL."""
    ways = [key for key in ("token_file", "netrc") if key in raw]
    ways += [f"headers:{name}" for name in raw.get("headers", ()) if name.lower() == "authorization"]
    if len(ways) > 1:
        raise DefinitionError(f"{at}:{ways[0]}: {ways[1]} is given too, and only one login can be sent. Remove one.")
    given = [key for key in ("headers", "token_file", "netrc") if key in raw]
    if given and "archive" in raw and not raw["archive"].startswith(("http://", "https://")):
        raise DefinitionError(f"{at}:{given[0]}: has no meaning with an archive that does not come over HTTP.")
    for number, requirement in enumerate(raw.get("requirements", ())):
        if urls.has_query(requirement):
            raise DefinitionError(
                f"{at}:requirements:{number}: the URL has a query, which may be a token (it is not shown). It would be"
                " kept in files that all may read. Take it out and name a file on the node that holds the login:"
                " source:netrc."
            )


def _ports(raw, at):
    if raw is None:
        return None
    first, last = (raw, raw) if isinstance(raw, int) else (int(p) for p in raw.split("-"))
    if not 1 <= first <= last <= 65535:
        raise DefinitionError(f"{at}: `{raw}` is not a range. Write two ports from 1 to 65535, the lower one first.")
    return PortRange(first, last)


def _data(value, at):
    """Return the folder for the data of an app. True means the usual folder, False means none.

    :raises DefinitionError: systemd does not let an app keep data there.
    """
    if not isinstance(value, str):
        return value
    path = PurePosixPath(value)
    closed = [PurePosixPath(p) for p in (*PROTECTED, *CLEARED)]
    if any(path == other or path in other.parents or other in path.parents for other in closed):
        raise DefinitionError(
            f"{at}: systemd protects {path} from apps, or clears it. Name another folder,"
            " for example below /srv or /var/lib."
        )
    return str(path)


def _env_value(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def _frontend(raw, at):
    if raw is None:
        return None
    given = {key: raw[key] for key in ("port", "mode") if key in raw}
    if "timeout" in raw:
        given["timeout"] = durations.positive(raw["timeout"], f"{at}:timeout", bounds.HAPROXY)
    proxies = enumerate(raw.get("trusted_proxies", ()))
    trusted = tuple(addresses.network(text, f"{at}:trusted_proxies:{number}") for number, text in proxies)
    return Frontend(**given, trusted_proxies=trusted)


def probe(raw, at, timeout=Probe.timeout, allowed=CHECKS):
    """Return the Probe that a check or a test describes.

    :param at: its key path, for messages.
    :param timeout: its timeout in seconds, if the definition has none.
    :param allowed: the kinds that it may have.
    :raises DefinitionError: it is wrong. The message has the key path.
    """
    kinds = [k for k in TESTS if k in raw]
    if len(kinds) != 1 or kinds[0] not in allowed:
        wanted = f"{', '.join(allowed[:-1])} and {allowed[-1]}"
        raise DefinitionError(f"{at}: needs exactly one of {wanted}, found {' and '.join(kinds) or 'none'}.")
    kind = kinds[0]
    if kind == "command" and raw.get("from", "node") != "node":
        raise DefinitionError(f"{at}:from: a command runs where the release is installed. Write `node`.")
    defaults = (("interval", Probe.interval), ("timeout", timeout))
    times = {key: durations.positive(raw.get(key, default), f"{at}:{key}") for key, default in defaults}
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
    """Return the gates of an app, or the gates of its environment if it has none of its own."""
    own, of_environment = raw.get("strategy") or {}, env.get("strategy") or {}
    written, at = (own, at) if "analysis" in own else (of_environment, where)
    missing = {name for name, key in (("port", "ports"), ("data", "data")) if not raw.get(key)}
    usable = [name for name in placeholders.PLACEHOLDERS if name not in missing]
    return analysis.gates(written.get("analysis", ()), f"{at}:strategy:analysis", usable)


def _check_placeholders(app, at):
    """Raise DefinitionError if a text of ``app`` has a placeholder that is not filled in there."""
    texts = [("run", app.run)] if app.source else []
    texts += [(words.path(("env", k), {"env": app.env}), v) for k, v in app.env.items()]
    texts += [(f"tests:{i}:command", t.target) for i, t in enumerate(app.tests) if t.kind == "command"]
    texts += hooks.texts(app)
    for key, text in texts:
        for name in placeholders.check(text, f"{at}:{key}", command=not key.startswith("env:")):
            if name == "port" and key.startswith("hooks:"):
                raise DefinitionError(f"{at}:{key}: {hooks.NO_PORT}")
            if name == "data" and not app.data:
                raise DefinitionError(f"{at}:data: is missing, and {key} uses {{data}}. Write `data: true`, or a path.")
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


def _refuse_placeholders(text, at, allowed=()):
    """Raise DefinitionError if ``text`` has a placeholder that is not ``allowed``. Other braces are no placeholders."""
    for name in analysis.PLACEHOLDER.findall(text):
        if name in placeholders.PLACEHOLDERS and name not in allowed:
            usable = f"Allowed: {', '.join(allowed)}." if allowed else "Consul asks for it as it is written."
            raise DefinitionError(f"{at}: the placeholder {{{name}}} is not filled in here. {usable}")
