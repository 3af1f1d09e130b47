"""The definition of an app becomes an App. Pure: no files, no network, no Salt calls.

The schema has accepted the definition before, unless a node has no jsonschema. Mistakes in its meaning are found here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..core import (
    addresses,
    analysis,
    bluegreen,
    bounds,
    durations,
    hooks,
    httprequests,
    placeholders,
    traffic,
    urls,
    words,
)
from ..core.errors import DefinitionError, Mistakes
from ..core.httprequests import Request
from ..core.model import (
    DIGEST,
    OWN_META,
    App,
    CheckRestart,
    Frontend,
    PortRange,
    Probe,
    Registration,
    Reload,
    Source,
    Stop,
)
from . import instancefiles, stops, strategies
from .inheritance import merge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ..core.model import Gate

# Folders that the unit of an app may not write to, and folders that it finds empty. See runtime/systemd.py.
PROTECTED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/efi", "/etc", "/home", "/root", "/run")
CLEARED = ("/tmp", "/var/tmp", "/proc", "/sys", "/dev")
# The timeout of a test, in seconds, if its definition has none.
TEST_TIMEOUT = 10.0
# The keys of metadata that each instance has, and the beginning of the keys that Consul reserves.
SALTDEPLOY_META, CONSUL_META = (*OWN_META, DIGEST), "consul-"
# How many keys of metadata Consul allows, and how many of them a definition may have.
CONSUL_KEYS = 64
MOST_META = CONSUL_KEYS - len(SALTDEPLOY_META)
# How long a value of metadata may be for Consul, in bytes of UTF-8.
META_BYTES = 512
# The kinds of checks, and of tests.
CHECKS, TESTS = ("http", "https", "tcp", "grpc", "script", "ttl"), ("http", "https", "tcp", "command")
# The kinds that ask the instance at its port.
ASKING = ("http", "https", "tcp", "grpc")
# The keys of a check that have no meaning if the app itself reports.
OF_RUNS = ("interval", "timeout", "success_before_passing", "failures_before_critical")
HTTP = ("http", "https")
# The keys of an HTTP request without which it is a path alone, for the registration of a check.
PLAIN = {"path", "status", "contains"}
# The keys of an HTTP request that only a test can have -> why, and what to do.
OF_TESTS = {
    "status": "Consul accepts each status of 2xx in a check, and no other. Leave it out, or write a test with it.",
    "contains": "Consul does not look for text in a check. Leave it out, or write a test with it.",
    "ca": "Consul verifies by the certificates of its node. Add the CA to them, write `insecure: true`, or write a"
    " test with it.",
}
# The keys that have a meaning with one kind of source only.
ONLY = {"archive": {"strip", "headers", "token_file"}, "pip": {"requirements", "python", "index"}}
# They stand in for wrong ports, and for a wrong check or test. Nothing else of the app is wrong because of them.
ANY_PORT, ANY_PROBE = PortRange(1, 1), Probe("command", "true")
# A node that may not run an app knows neither its source nor its command. Nobody asks such an App for its source.
NO_SOURCE: Any = None


def parse(
    name: str,
    raw: Mapping[str, Any],
    env: Mapping[str, Any],
    where: str,
    fit: Callable[[App], None] = lambda app: None,
) -> App:
    """Return the App called ``name``.

    :param raw: its definition, merged with its settings in the environment.
    :param env: the raw mapping of the environment. It may have a strategy that its apps share.
    :param where: the key path of the environment, for messages.
    :param fit: raises DefinitionError if an App that is right by itself does not fit into its environment.
    :raises DefinitionError: its definition is wrong. The message has all mistakes, each on its line with its key path.
    """
    at, mistakes = f"apps:{name}", Mistakes()
    own, shared = raw.get("strategy") or {}, env.get("strategy") or {}
    strategy = mistakes.attempt(strategies.parse, merge(shared, own), at if own else where)
    gates = mistakes.attempt(_gates, raw, env, at, where)
    app = _app(name, raw, at, mistakes.attempt)
    whole = not mistakes.found
    mistakes.attempt(instancefiles.check, app.config, f"{at}:config")
    mistakes.attempt(_check_placeholders, app, at)
    mistakes.attempt(_check_reload, app, at)
    mistakes.attempt(_check_kinds, app, at)
    if strategy:
        app = replace(app, strategy=replace(strategy, analysis=gates or ()))
        mistakes.attempt(traffic.check, strategy, at if "canary_weight" in own else where)
        mistakes.attempt(bluegreen.check, app, own, shared, at, where)
        mistakes.attempt(_check_recreate, app, at if "type" in own else where)
    if whole:
        mistakes.attempt(fit, app)
    mistakes.refuse()
    return app


def _app(name: str, raw: Mapping[str, Any], at: str, attempt: Callable[..., Any]) -> App:
    """Return the App that ``raw`` describes, without its strategy. See Mistakes.attempt for ``attempt``."""
    return App(
        name=name,
        source=attempt(_source, raw["source"], f"{at}:source") if "source" in raw else NO_SOURCE,
        run=raw.get("run", ""),
        version=raw.get("version", ""),
        instances=raw.get("instances", App.instances),
        user=raw.get("user", "") or attempt(_default_user, name, at, default=""),
        data=attempt(_data, raw.get("data", App.data), f"{at}:data", default=True),
        packages=tuple(raw.get("packages", ())),
        states=tuple(raw.get("states", ())),
        config=dict(raw.get("config", {})),
        env={k: _env_value(v) for k, v in raw.get("env", {}).items()},
        ports=attempt(_ports, raw.get("ports"), f"{at}:ports", default=ANY_PORT),
        requires=tuple(raw.get("requires", ())),
        roles=tuple(raw.get("roles", ())),
        checks=tuple(
            attempt(probe, check, f"{at}:checks:{number}", default=ANY_PROBE)
            for number, check in enumerate(raw.get("checks", ()))
        ),
        tests=tuple(
            attempt(probe, test, f"{at}:tests:{number}", TEST_TIMEOUT, TESTS, default=ANY_PROBE)
            for number, test in enumerate(raw.get("tests", ()))
        ),
        hooks=attempt(hooks.parse, raw.get("hooks", {}), f"{at}:hooks", default={}),
        memory=raw.get("resources", {}).get("memory", ""),
        cpu=raw.get("resources", {}).get("cpu", ""),
        frontend=attempt(_frontend, raw.get("frontend"), f"{at}:frontend"),
        stop=attempt(stops.parse, raw.get("stop", {}), f"{at}:stop", default=Stop()),
        reload=attempt(_reload, raw["reload"], f"{at}:reload") if "reload" in raw else None,
        check_restart=attempt(_check_restart, raw.get("check_restart"), f"{at}:check_restart"),
        service=attempt(_registration, raw.get("service", {}), f"{at}:service", default=Registration()),
    )


def _reload(raw: Mapping[str, Any], at: str) -> Reload:
    """Return the Reload that ``reload: {…}`` describes.

    :raises DefinitionError: it has not exactly one way, or its timeout is too long.
    """
    given = [key for key in ("signal", "command") if key in raw]
    if len(given) != 1:
        raise DefinitionError(f"{at}: needs exactly one of signal and command, found {' and '.join(given) or 'none'}.")
    timeout = durations.positive(raw.get("timeout", Reload.timeout), f"{at}:timeout")
    return Reload(raw.get("signal", ""), raw.get("command", ""), timeout, tuple(raw.get("files", ())))


def _check_reload(app: App, at: str) -> None:
    """Raise DefinitionError if a reload takes in a file that ``app`` does not have."""
    mistakes = Mistakes()
    for number, target in enumerate(app.reload.files if app.reload else ()):
        if target not in app.config:
            near = words.nearest(target, app.config)
            mistakes.add(f"{at}:reload:files:{number}: {words.shown(target)} is no file of {at}:config{near}.")
    mistakes.refuse()


def _check_kinds(app: App, at: str) -> None:
    """Raise DefinitionError if ``app`` has several ``ttl`` checks, or none that ``check_restart`` could run."""
    mistakes, kinds = Mistakes(), [check.kind for check in app.checks]
    for number, kind in enumerate(kinds):
        if kind == "ttl" and "ttl" in kinds[:number]:
            mistakes.add(f"{at}:checks:{number}: an app has one `ttl` check at most. Report the worst of all in it.")
    # By default, a port is checked, and of an app without ports only whether it runs.
    runs = (set(kinds) - {"grpc", "ttl"}) or (app.ports and not kinds)
    if app.check_restart and not runs:
        mistakes.add(
            f"{at}:check_restart: needs a check that the node can run itself: http, https, tcp or script. Only Consul"
            " knows the result of a grpc or ttl check."
        )
    mistakes.refuse()


def _check_restart(raw: Mapping[str, Any] | None, at: str) -> CheckRestart | None:
    if raw is None:
        return None
    grace = durations.positive(raw.get("grace", CheckRestart.grace), f"{at}:grace")
    return CheckRestart(raw.get("after", CheckRestart.after), grace, raw.get("most", CheckRestart.most))


def _registration(raw: Mapping[str, Any], at: str) -> Registration:
    meta, mistakes = dict(raw.get("meta", {})), Mistakes()
    for key, text in meta.items():
        size, place = len(text.encode(errors="surrogatepass")), f"{at}:{words.path(('meta', key))}"
        if key in SALTDEPLOY_META:
            mistakes.add(f"{place}: saltdeploy itself has this key. Choose another name.")
        elif key.startswith(CONSUL_META):
            mistakes.add(f"{place}: Consul reserves keys that begin with `{CONSUL_META}`. Choose another name.")
        if size > META_BYTES:
            mistakes.add(f"{place}: the text has {size} bytes in UTF-8. Write at most {META_BYTES}.")
    if len(meta) > MOST_META:
        mistakes.add(
            f"{at}:meta: has {len(meta)} keys. Write at most {MOST_META}, because Consul takes {CONSUL_KEYS} and"
            f" saltdeploy itself has {len(SALTDEPLOY_META)}."
        )
    mistakes.refuse()
    return Registration(tuple(raw.get("tags", ())), meta, raw.get("name", ""))


def _check_recreate(app: App, at: str) -> None:
    """Raise DefinitionError if ``app`` stops the old instance first, and has more or less than one port."""
    if app.recreate and (app.ports is None or len(app.ports) != 1):
        raise DefinitionError(
            f"{at}:strategy:type: recreate is for an app with one port, and {app.name} has {app.ports or 'none'}."
            f" Write `rolling` in apps:{app.name}:strategy:type, or one port in apps:{app.name}:ports."
        )


def _default_user(name: str, at: str) -> str:
    user = f"app-{name}"
    if len(user) > 32:
        raise DefinitionError(f"{at}:user: the default `{user}` is too long. Write a name of at most 32 characters.")
    return user


def _source(raw: Mapping[str, Any], at: str) -> Source:
    kinds = [k for k in ("archive", "pip") if k in raw]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "neither"
        raise DefinitionError(f"{at}: needs exactly one of `archive` and `pip`, found {found}.")
    kind, mistakes = kinds[0], Mistakes()
    if kind == "archive" and "sha256" not in raw:
        mistakes.add(f"{at}:sha256: is missing. An archive is unpacked only if its digest is known.")
    for stray in sorted(set(raw) & ONLY["pip" if kind == "archive" else "archive"]):
        mistakes.add(f"{at}:{stray}: has no meaning with `{kind}`.")
    if kind == "pip" and isinstance(raw.get("sha256"), str):
        mistakes.add(f"{at}:sha256: one digest has no meaning with `pip`. Write a digest for each version.")
    mistakes.attempt(_check_credentials, raw, at)
    mistakes.refuse()
    return Source(
        kind,
        raw[kind],
        sha256=raw.get("sha256"),
        strip=raw.get("strip", Source.strip),
        requirements=tuple(raw.get("requirements", ())),
        python=raw.get("python", ""),
        index=raw.get("index", ""),
        # gpg needs a block in YAML, which ends with a line break.
        headers={name: value.rstrip("\n") for name, value in raw.get("headers", {}).items()},
        token_file=raw.get("token_file", ""),
        netrc=raw.get("netrc", ""),
    )


def _check_credentials(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if a source has several logins, a login that is never asked for, or a login in a URL."""
    mistakes = Mistakes()
    ways = [key for key in ("token_file", "netrc") if key in raw]
    ways += [f"headers:{name}" for name in raw.get("headers", ()) if name.lower() == "authorization"]
    if len(ways) > 1:
        mistakes.add(f"{at}:{ways[0]}: {ways[1]} is given too, and only one login can be sent. Remove one.")
    given = [key for key in ("headers", "token_file", "netrc") if key in raw]
    if given and "archive" in raw and not raw["archive"].startswith(("http://", "https://")):
        mistakes.add(f"{at}:{given[0]}: has no meaning with an archive that does not come over HTTP.")
    for number, requirement in enumerate(raw.get("requirements", ())):
        if urls.has_query(requirement):
            mistakes.add(
                f"{at}:requirements:{number}: the URL has a query, which may be a token (it is not shown). It would be"
                " kept in files that all may read. Take it out and name a file on the node that holds the login:"
                " source:netrc."
            )
    mistakes.refuse()


def _ports(raw: int | str | None, at: str) -> PortRange | None:
    if raw is None:
        return None
    first, last = (raw, raw) if isinstance(raw, int) else (int(p) for p in raw.split("-"))
    if not 1 <= first <= last <= 65535:
        raise DefinitionError(f"{at}: `{raw}` is not a range. Write two ports from 1 to 65535, the lower one first.")
    return PortRange(first, last)


def _data(value: bool | str, at: str) -> bool | str:
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


def _env_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _frontend(raw: Mapping[str, Any] | None, at: str) -> Frontend | None:
    if raw is None:
        return None
    given = {key: raw[key] for key in ("port", "mode") if key in raw}
    mistakes = Mistakes()
    if "timeout" in raw:
        given["timeout"] = mistakes.attempt(durations.positive, raw["timeout"], f"{at}:timeout", bounds.HAPROXY)
    proxies = enumerate(raw.get("trusted_proxies", ()))
    trusted = tuple(mistakes.attempt(addresses.network, p, f"{at}:trusted_proxies:{number}") for number, p in proxies)
    mistakes.refuse()
    return Frontend(**given, trusted_proxies=trusted)


def probe(raw: Mapping[str, Any], at: str, timeout: float = Probe.timeout, allowed: tuple[str, ...] = CHECKS) -> Probe:
    """Return the Probe that a check or a test describes.

    :param at: its key path, for messages.
    :param timeout: its timeout in seconds, if the definition has none.
    :param allowed: the kinds that it may have.
    :raises DefinitionError: it is wrong. The message has the key path.
    """
    kinds = [k for k in dict.fromkeys((*CHECKS, *TESTS)) if k in raw]
    if len(kinds) != 1 or kinds[0] not in allowed:
        wanted = f"{', '.join(allowed[:-1])} and {allowed[-1]}"
        raise DefinitionError(f"{at}: needs exactly one of {wanted}, found {' and '.join(kinds) or 'none'}.")
    kind = kinds[0]
    if kind == "command" and raw.get("from", "node") != "node":
        raise DefinitionError(f"{at}:from: a command runs where the release is installed. Write `node`.")
    if kind == "ttl":
        return _ttl(raw, at)
    defaults = (("interval", Probe.interval), ("timeout", timeout))
    interval, wait = (durations.positive(raw.get(key, default), f"{at}:{key}") for key, default in defaults)
    if kind == "grpc":
        about = raw[kind] if isinstance(raw[kind], dict) else {}
        times = {key: raw.get(key, getattr(Probe, key)) for key in OF_RUNS[2:]}
        return Probe(
            kind, about.get("service", ""), interval=interval, timeout=wait, request=_tls(about, f"{at}:grpc"), **times
        )
    http = raw[kind] if kind in HTTP and isinstance(raw[kind], dict) else {}
    if http:
        _check_request(http, kind, f"{at}:{kind}", allowed)
    request = None
    if kind == "https" or set(http) - PLAIN:
        request = httprequests.request(http, f"{at}:{kind}")
    return Probe(
        kind=kind,
        target=http.get("path") or ("" if raw[kind] is True else raw[kind]),
        origin=raw.get("from", Probe.origin),
        status=httprequests.statuses(http.get("status", Probe.status)) if "command" in allowed else Probe.status,
        contains=http.get("contains", ""),
        interval=interval,
        timeout=wait,
        request=request,
        success_before_passing=raw.get("success_before_passing", Probe.success_before_passing),
        failures_before_critical=raw.get("failures_before_critical", Probe.failures_before_critical),
    )


def _ttl(raw: Mapping[str, Any], at: str) -> Probe:
    """Return the Probe of a ``ttl`` check. Raise DefinitionError if it has keys of a check that somebody runs."""
    mistakes = Mistakes()
    for key in OF_RUNS:
        if key in raw:
            mistakes.add(f"{at}:{key}: has no meaning with `ttl`, because the app itself reports. Remove it.")
    longest = mistakes.attempt(durations.positive, raw["ttl"], f"{at}:ttl", default=1.0)
    mistakes.refuse()
    return Probe("ttl", "", interval=longest, timeout=0.0)


def _tls(raw: Mapping[str, Any], at: str) -> Request | None:
    """Return the TLS of a ``grpc`` check, None without TLS. Raise DefinitionError if it has keys of TLS without it."""
    mistakes = Mistakes()
    for key in ("host", "insecure"):
        if key in raw and not raw.get("tls"):
            mistakes.add(f"{at}:{key}: has no meaning without TLS. Write `tls: true`, or remove it.")
    mistakes.refuse()
    return Request(host=raw.get("host", ""), insecure=raw.get("insecure", False)) if raw.get("tls") else None


def _check_request(http: Mapping[str, Any], kind: str, at: str, allowed: tuple[str, ...]) -> None:
    """Raise DefinitionError if the request of an HTTP check or test has keys that cannot be used together, or there.

    :param allowed: the kinds that may be there, which tell a check from a test.
    """
    mistakes = Mistakes()
    for key, why in OF_TESTS.items() if "command" not in allowed else ():
        if key in http and http[key] != "2xx":
            mistakes.add(f"{at}:{key}: {why}")
    secure, remedy = kind == "https", "Write `https` in place of `http`"
    mistakes.attempt(httprequests.check, http, at, secure, ["contains"], remedy)
    mistakes.refuse()


def _gates(raw: Mapping[str, Any], env: Mapping[str, Any], at: str, where: str) -> tuple[Gate, ...]:
    """Return the gates of an app, or the gates of its environment if it has none of its own."""
    own, of_environment = raw.get("strategy") or {}, env.get("strategy") or {}
    written, at = (own, at) if "analysis" in own else (of_environment, where)
    missing = {name for name, key in (("port", "ports"), ("data", "data")) if not raw.get(key)}
    usable = [name for name in placeholders.PLACEHOLDERS if name not in missing]
    return analysis.gates(written.get("analysis", ()), f"{at}:strategy:analysis", usable)


def _check_placeholders(app: App, at: str) -> None:
    """Raise DefinitionError if a text of ``app`` has a placeholder that is not filled in there."""
    mistakes = Mistakes()
    missing: dict[str, str] = {}
    # A source that is wrong is None here, as it is on a node that may not run the app and has no command.
    texts = [("run", app.run)] if app.source or app.run else []
    texts += [(words.path(("env", k), {"env": app.env}), v) for k, v in app.env.items()]
    texts += [(f"tests:{i}:command", t.target) for i, t in enumerate(app.tests) if t.kind == "command"]
    texts += [(f"checks:{i}:script", c.target) for i, c in enumerate(app.checks) if c.kind == "script"]
    texts += hooks.texts(app)
    texts += [("reload:command", app.reload.command)] if app.reload and app.reload.command else []
    for key, text in texts:
        command = not key.startswith("env:")
        for name in mistakes.attempt(placeholders.check, text, f"{at}:{key}", placeholders.PLACEHOLDERS, command) or ():
            if name == "port" and key.startswith("hooks:"):
                mistakes.add(f"{at}:{key}: {hooks.NO_PORT}")
            elif name == "data" and not app.data:
                missing.setdefault("data", f"{key} uses {{data}}. Write `data: true`, or a path.")
            elif name == "port" and app.ports is None:
                missing.setdefault("ports", f"{key} uses {{port}}.")
    for number, check in enumerate(app.checks):
        if check.kind == "script":
            continue
        mistakes.attempt(_refuse_placeholders, check.target, f"{at}:checks:{number}:{check.kind}")
    for number, test in enumerate(app.tests):
        if test.kind in HTTP:
            place = f"{at}:tests:{number}:{test.kind}"
            mistakes.attempt(_refuse_placeholders, test.target, place, placeholders.ELSEWHERE)
            mistakes.attempt(_refuse_placeholders, test.contains, f"{place}:contains", placeholders.ELSEWHERE)
    listens = [p for p in (*app.checks, *app.tests) if p.kind in ASKING]
    if listens and app.ports is None:
        missing.setdefault("ports", f"the {listens[0].kind} check or test needs a port.")
    for key, why in missing.items():
        mistakes.add(f"{at}:{key}: is missing, and {why}")
    mistakes.refuse()


def _refuse_placeholders(text: str, at: str, allowed: Collection[str] = ()) -> None:
    """Raise DefinitionError if ``text`` has a placeholder that is not ``allowed``. Other braces are no placeholders."""
    for name in analysis.PLACEHOLDER.findall(text):
        if name in placeholders.PLACEHOLDERS and name not in allowed:
            usable = f"Allowed: {', '.join(allowed)}." if allowed else "Consul asks for it as it is written."
            raise DefinitionError(f"{at}: the placeholder {{{name}}} is not filled in here. {usable}")
