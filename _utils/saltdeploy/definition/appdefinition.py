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
    placeholders,
    traffic,
    versions,
    words,
)
from ..core.errors import DefinitionError, Mistakes
from ..core.model import (
    App,
    CheckRestart,
    Frontend,
    PortRange,
    Probe,
    Registration,
    Reload,
    Stop,
)
from . import instancefiles, probes, registrations, sources, stops, strategies
from .inheritance import merge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ..core.model import Gate

# Folders that the unit of an app may not write to, and folders that it finds empty. See runtime/systemd.py.
PROTECTED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/efi", "/etc", "/home", "/root", "/run")
CLEARED = ("/tmp", "/var/tmp", "/proc", "/sys", "/dev")
# podman takes no line of 64 KiB from a file of variables. Placeholders in a value may be filled in with longer texts.
MOST_OF_VALUE = 60_000
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
    if app.version == versions.WORKING_COPY and app.source and app.source.kind == "path":
        app = replace(app, version="")
    whole = not mistakes.found
    mistakes.attempt(instancefiles.check, app.config, f"{at}:config")
    mistakes.attempt(_check_placeholders, app, at)
    mistakes.attempt(_check_reload, app, at)
    mistakes.attempt(_check_unit, app, at)
    mistakes.attempt(_check_container, app, at)
    mistakes.attempt(probes.check_kinds, app, at)
    if strategy:
        app = replace(app, strategy=replace(strategy, analysis=gates or ()))
        mistakes.attempt(traffic.check, strategy, at if "canary_weight" in own else where)
        mistakes.attempt(bluegreen.check, app, own, shared, at, where)
        mistakes.attempt(_check_recreate, app, at if "type" in own else where)
        mistakes.attempt(_check_package, app, at)
    if whole:
        mistakes.attempt(fit, app)
    mistakes.refuse()
    return app


def _app(name: str, raw: Mapping[str, Any], at: str, attempt: Callable[..., Any]) -> App:
    """Return the App that ``raw`` describes, without its strategy. See Mistakes.attempt for ``attempt``."""
    return App(
        name=name,
        source=attempt(sources.parse, raw["source"], f"{at}:source") if "source" in raw else NO_SOURCE,
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
            attempt(probes.parse, check, f"{at}:checks:{number}", default=ANY_PROBE)
            for number, check in enumerate(raw.get("checks", ()))
        ),
        tests=tuple(
            attempt(probes.parse, test, f"{at}:tests:{number}", probes.TEST_TIMEOUT, probes.TESTS, default=ANY_PROBE)
            for number, test in enumerate(raw.get("tests", ()))
        ),
        hooks=attempt(hooks.parse, raw.get("hooks", {}), f"{at}:hooks", default={}),
        memory=raw.get("resources", {}).get("memory", ""),
        cpu=raw.get("resources", {}).get("cpu", ""),
        frontend=attempt(_frontend, raw.get("frontend"), f"{at}:frontend"),
        stop=attempt(stops.parse, raw.get("stop", {}), f"{at}:stop", default=Stop()),
        reload=attempt(_reload, raw["reload"], f"{at}:reload") if "reload" in raw else None,
        check_restart=attempt(_check_restart, raw.get("check_restart"), f"{at}:check_restart"),
        service=attempt(registrations.parse, raw.get("service", {}), f"{at}:service", default=Registration()),
        follow=raw.get("follow", App.follow),
        unit=raw.get("unit", App.unit),
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


def _check_restart(raw: Mapping[str, Any] | None, at: str) -> CheckRestart | None:
    if raw is None:
        return None
    grace = durations.positive(raw.get("grace", CheckRestart.grace), f"{at}:grace")
    return CheckRestart(raw.get("after", CheckRestart.after), grace, raw.get("most", CheckRestart.most))


def _check_recreate(app: App, at: str) -> None:
    """Raise DefinitionError if ``app`` stops the old instance first, and has more or less than one port."""
    if app.recreate and (app.ports is None or len(app.ports) != 1):
        raise DefinitionError(
            f"{at}:strategy:type: recreate is for an app with one port, and {app.name} has {app.ports or 'none'}."
            f" Write `rolling` in apps:{app.name}:strategy:type, or one port in apps:{app.name}:ports."
        )


def _check_unit(app: App, at: str) -> None:
    """Raise DefinitionError if ``app`` has a unit that it cannot have."""
    if not app.source or not app.unit:
        return
    mistakes = Mistakes()
    if app.run:
        mistakes.add(f"{at}:unit: has a command of its own, and there is {at}:run. Remove one.")
    if app.source.kind != "package":
        mistakes.add(f"{at}:unit: has no meaning with `{app.source.kind}`. Write {at}:run.")
    if app.is_watched and app.ports:
        mistakes.add(f"{at}:unit: no watcher runs beside a unit, so there is no check_restart and no script check.")
    mistakes.refuse()


def _check_container(app: App, at: str) -> None:
    """Raise DefinitionError if ``app`` is an image, and wants something that a container cannot have."""
    if not app.source or app.source.kind != "container":
        return
    mistakes = Mistakes()
    if app.is_watched:
        key, why = ("ports", "is missing, and ") if app.ports is None else ("check_restart", "")
        mistakes.add(
            f"{at}:{key}: {why}no watcher runs beside a container, so it has ports, and neither check_restart nor a"
            " script check."
        )
    for key, value in (("run", app.run), *((f"env:{name}", value) for name, value in app.env.items())):
        if "{release}" in value:
            mistakes.add(f"{at}:{key}: the release of a container is an image. It has no folder {{release}}.")
    for name, value in app.env.items():
        if "\n" in value or "\r" in value:
            mistakes.add(f"{at}:env:{name}: has several lines, which no container can get. Write a file in `config`.")
        if len(value.encode()) > MOST_OF_VALUE:
            mistakes.add(
                f"{at}:env:{name}: has more than {MOST_OF_VALUE} bytes, which no container can get. Write a file in"
                " `config`."
            )
    mistakes.refuse()


def _check_package(app: App, at: str) -> None:
    """Raise DefinitionError if ``app`` is a package, and two versions of it would have to be on a node."""
    if app.source and app.source.kind == "package" and not app.recreate:
        raise DefinitionError(
            f"{at}:strategy:type: {app.name} is a package, and a node has one version of a package. Write `recreate`,"
            f" so that the old instance ends first, and one port in {at}:ports."
        )


def _default_user(name: str, at: str) -> str:
    user = f"app-{name}"
    if len(user) > 32:
        raise DefinitionError(f"{at}:user: the default `{user}` is too long. Write a name of at most 32 characters.")
    return user


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
    needed = app.source and not app.unit and app.source.kind != "container"
    texts = [("run", app.run)] if needed or (app.run and not app.unit) else []
    texts += [(words.path(("env", k), {"env": app.env}), v) for k, v in app.env.items()]
    texts += [(f"tests:{i}:command", t.target) for i, t in enumerate(app.tests) if t.kind == "command"]
    texts += [(f"checks:{i}:script", c.target) for i, c in enumerate(app.checks) if c.kind == "script"]
    texts += hooks.texts(app)
    texts += [("reload:command", app.reload.command)] if app.reload and app.reload.command else []
    for key, text in texts:
        command = not key.startswith("env:")
        follow = app.follow if key.startswith(("run", "env:")) else None
        given = (text, f"{at}:{key}", placeholders.PLACEHOLDERS, command, app.requires, follow)
        for name in mistakes.attempt(placeholders.check, *given) or ():
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
        if test.kind in probes.HTTP:
            place = f"{at}:tests:{number}:{test.kind}"
            mistakes.attempt(_refuse_placeholders, test.target, place, placeholders.ELSEWHERE)
            mistakes.attempt(_refuse_placeholders, test.contains, f"{place}:contains", placeholders.ELSEWHERE)
    if app.follow and not app.requires:
        missing["requires"] = "`follow: true` follows the services that it names."
    listens = [p for p in (*app.checks, *app.tests) if p.kind in probes.ASKING]
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
