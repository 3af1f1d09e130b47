"""A pillar becomes an Environment with its apps. Pure: no files, no network, no Salt calls."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core import addresses, bluegreen, bounds, events, urls, words
from ..core.conditions import Conditions
from ..core.environment import Environment, Node
from ..core.errors import DefinitionError, Mistakes, Refused
from ..core.model import SKYDNS_DOMAIN, App
from ..core.words import nearest, shown
from . import (
    appdefinition,
    conditions,
    conflicts,
    etcdcluster,
    groups,
    inheritance,
    loadbalancer,
    platforms,
    probes,
    validation,
)
from .inheritance import left_out, mapping, merge, named, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # What finds the mistakes in definitions, see validation.problems. It returns None if nothing can find them.
    Problems = Callable[[dict[str, Any]], Mapping[str, list[str]] | None]


def choose_environment(pillar: Mapping[str, Any], name: object = None) -> str:
    """Return the name of the environment that a command means.

    :param name: a name. None means the only environment.
    :raises Refused: no environment has this name, or there is not exactly one.
    """
    known = sorted(named(pillar, "environments"))
    unread = left_out(inheritance.unread(pillar), name if isinstance(name, str) else "")
    if not known:
        raise Refused(
            "no environment is defined: pillar `environments` is empty for this master."
            + (unread or " Match the master's own pillar id in pillar/top.sls (see docs: your own master).")
        )
    if name is None:
        # A file that cannot be read may hold the environment that is meant.
        if len(known) > 1 or "environments" in unread:
            raise Refused(f"which environment? Say env=NAME, one of: {words.listed(known)}.{unread}")
        return known[0]
    if name not in known:
        raise Refused(
            f"unknown environment {shown(name)}{nearest(name, known)}{words.odd(name)}. Defined: {words.listed(known)}."
            f"{unread}"
        )
    return name


def only_with(pillar: Mapping[str, Any], app: str) -> str | None:
    """Return the name of the only environment that has ``app``, or None if there is not exactly one.

    An environment with a mistake is left out. The mistake is named when somebody asks for this environment.
    """
    found: list[str] = []
    for name in named(pillar, "environments"):
        with contextlib.suppress(DefinitionError):
            links = inheritance.chain(pillar["environments"], name)
            found += [name] if any(app in mapping(pillar["environments"][link], "apps") for link in links) else []
    return found[0] if len(found) == 1 else None


def load(
    pillar: Mapping[str, Any],
    env: object = None,
    problems: Problems = validation.problems,
    app: str | None = None,
    told: int = validation.TOLD,
) -> Environment:
    """Return the Environment named ``env`` with its apps.

    An app with a mistake in its own definition is in ``broken``, not in ``apps``. :func:`find_app` raises the mistake.
    So a mistake in one app does not stop another app. Two apps that cannot be beside one another are in ``clashing``,
    too. Their running instances can be operated, and :func:`refuse_clash` raises why nothing more may be started.

    :param pillar: a mapping with the keys ``apps`` and ``environments``. ``saltdeploy_broken`` may have the files that
        are left out, and the reasons: file -> reason.
    :param env: the name of the environment. None means the only one.
    :param problems: ``problems(definitions)`` returns the mistakes that a schema finds, as validation.problems does. It
        returns None if nothing can find them.
    :param app: the name of the app that somebody asks for. Its mistakes are reported with the environment's.
    :param told: how many mistakes a message lists.
    :raises DefinitionError: the environment is wrong. The message has the key path, the wrong value and the right form.
    """
    unread = inheritance.unread(pillar)
    name = choose_environment(pillar, env)
    if inheritance.unusable(name) in unread:
        raise DefinitionError(f"environments:{name}: {unread[inheritance.unusable(name)]}")
    apps, environments = named(pillar, "apps"), pillar["environments"]
    chain = inheritance.chain(environments, name, unread)
    used = {a for link in chain for a in mapping(environments[link], "apps")}
    wanted = {"apps": {a: apps[a] for a in apps if a in used}, "environments": inheritance.used(environments, chain)}
    found, known = problems(wanted), urls.secrets(wanted)
    wrong = {part: [*known.get(part, []), *said] for part, said in (found or {}).items()}
    if validation.ENVIRONMENT in wrong:
        own = (wrong.get(app) or known.get(app, [])) if app else []
        raise DefinitionError(validation.listed([*wrong[validation.ENVIRONMENT], *own], told))
    broken = {a: validation.listed(said, told) for a, said in wrong.items()}
    raw, where = resolve(environments, name, broken), f"environments:{name}"
    _name_missing(broken, raw, apps, where, unread)
    mistakes = Mistakes(known.get(validation.ENVIRONMENT, ()))
    environment = _environment(name, raw, broken, unread, mistakes)
    _fill(environment, raw, apps, known, found is not None, told)
    if mistakes.found:
        own = environment.broken.get(app, "").splitlines() if app else []
        raise DefinitionError(validation.listed([*mistakes.found, *own], told))
    return environment


def _name_missing(
    broken: dict[str, str], raw: Mapping[str, Any], apps: Mapping[str, Any], where: str, unread: Mapping[str, str]
) -> None:
    """Add to ``broken`` the apps of an environment that have no definition, and why."""
    for app in raw["apps"]:
        if not isinstance(app, str):
            broken[shown(app)] = f"{where}:apps: {inheritance.no_text(app)}"
        elif raw["apps"][app] == inheritance.WITHHELD:
            broken[app] = f"{where}:apps:{words.name(app)}: is not sent to nodes.{left_out(unread, app)}"
        elif app not in apps:
            broken.setdefault(app, _undefined(app, apps, where, unread))


def _environment(
    name: str, raw: Mapping[str, Any], broken: dict[str, str], unread: dict[str, str], mistakes: Mistakes
) -> Environment:
    """Return the Environment of the raw mapping ``raw`` without its apps, and add its mistakes to ``mistakes``."""
    where = f"environments:{name}"
    mistakes.attempt(conflicts.check, where, raw)
    platform = platforms.of(raw)
    if platform:
        mistakes.attempt(platform.identities, name, raw)
    return Environment(
        name=name,
        nodes={n: _node(n, about, where, mistakes) for n, about in raw["nodes"].items()},
        apps={},
        discovery=_discovery(name, raw.get("discovery") or {"skydns" if etcdcluster.wanted(raw) else "consul": {}}),
        webhook=mistakes.attempt(events.webhook, raw.get("notify") or {}, f"{where}:notify"),
        upstream=_upstream(raw.get("dns") or {}, f"{where}:dns:upstream", mistakes),
        broken=broken,
        unread=unread,
        conditions=mistakes.attempt(conditions.parse, where, raw, default=Conditions()),
        groups=mistakes.attempt(groups.parse, where, raw, default={}),
    )


def _discovery(name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``discovery`` of an environment. With SkyDNS, its name is a part of all keys and names."""
    if "skydns" not in raw:
        return dict(raw)
    return {"skydns": {"domain": SKYDNS_DOMAIN, **raw["skydns"], "environment": name}}


def _fill(
    environment: Environment,
    raw: Mapping[str, Any],
    apps: Mapping[str, Any],
    known: Mapping[str, list[str]],
    validated: bool,
    told: int,
) -> None:
    """Put each app of ``environment`` into its ``apps`` or ``broken``.

    :param known: app -> its mistakes that are known already. They leave its shape as it must be.
    :param validated: False if jsonschema is missing. An app may then have any shape.
    :param told: how many mistakes of an app are kept.
    """
    where = f"environments:{environment.name}"
    good: dict[str, dict[str, Any]] = {}
    for name, settings in raw["apps"].items():
        if name in apps and name not in environment.broken:
            if isinstance(apps[name], dict) and isinstance(settings or {}, dict):
                good[name] = merge(apps[name], settings or {})
            else:  # This happens only on a node without jsonschema.
                environment.broken[name] = f"apps:{words.name(name)}: is not a mapping."
    allowed, kind = platforms.services(raw), "skydns" if etcdcluster.wanted(raw) else "consul"
    environment.clashing.update(conflicts.of_apps(where, good, set(raw["apps"]), allowed, kind))
    for name, merged in good.items():
        mistakes = Mistakes(known.get(name, ()))
        try:
            app = mistakes.attempt(appdefinition.parse, name, merged, raw, where, partial(_fit, environment))
        except Refused:  # It is a TypeError, too.
            raise
        except bounds.WRONG_SHAPE as exc:
            if validated:
                raise
            mistakes.add(str(bounds.misshapen(f"apps:{words.name(name)}", exc)))
        if mistakes.found:
            environment.broken[name] = validation.listed(mistakes.found, told)
        else:
            environment.apps[name] = replace(app, domain=environment.domain)


def _fit(environment: Environment, app: App) -> None:
    """Raise DefinitionError if ``app`` cannot run on the nodes of ``environment``."""
    mistakes = Mistakes()
    mistakes.attempt(bluegreen.check_room, app, len(environment.eligible(app)))
    mistakes.attempt(_refuse_lonely_peers, app, environment)
    if "skydns" in environment.discovery:
        mistakes.attempt(probes.refuse_grpc, app)
        mistakes.attempt(loadbalancer.refuse_share, environment, app)
    mistakes.refuse()


def _refuse_lonely_peers(app: App, environment: Environment) -> None:
    """Raise DefinitionError if ``app`` has a test from a peer, and its environment has a single node."""
    if any(test.origin == "peer" for test in app.tests) and len(environment.nodes) < 2:
        raise DefinitionError(
            f"apps:{app.name}:tests: a test is `from: peer`, but environment {environment.name} has one node."
            " Add a node, or test `from: master`."
        )


def _undefined(app: str, apps: Mapping[str, Any], where: str, unread: Mapping[str, str]) -> str:
    """Return the message on an app that is in an environment and not under ``apps``."""
    defined = f" Defined under `apps`: {words.listed(apps)}."
    return f"{where}:apps:{words.name(app)}: there is no such app{nearest(app, apps)}.{defined}{left_out(unread, app)}"


def load_own(minion: str, pillar: Mapping[str, Any], problems: Problems = validation.problems_again) -> Environment:
    """Return the Environment of the node ``minion``, from its own pillar.

    :param problems: as for :func:`load`.
    :raises Refused: it is a node of no environment, or Salt could not render its pillar.
    """
    if not pillar.get("environments"):
        errors = "; ".join(map(str, pillar.get("_errors") or ()))
        if errors:
            raise Refused(
                f"the pillar of {minion} has errors: {errors}. Correct them on the master, then run:"
                f" salt {minion} saltutil.refresh_pillar"
            )
        raise Refused(
            f"{minion} is a node of no environment. Add it to `nodes` of one, then run saltutil.refresh_pillar."
            + left_out(inheritance.unread(pillar))
        )
    try:
        names = sorted(named(pillar, "environments"))
        environment = load(pillar, names[0] if len(names) == 1 else None, problems)
    except Refused:
        raise
    except bounds.WRONG_SHAPE as exc:  # This happens only on a node without jsonschema. The master has it.
        raise bounds.misshapen(f"the definitions in the pillar of {minion}", exc) from None
    if minion not in environment.nodes:
        raise Refused(f"{minion} is not a node of environment {environment.name}. Add it to its `nodes`.")
    return environment


def find_app(environment: Environment, name: object) -> App:
    """Return the App called ``name`` in ``environment``.

    :raises DefinitionError: its definition is wrong.
    :raises Refused: there is no such app. The message has the most similar name.
    """
    name = find_name(environment, name)
    if name in environment.broken:
        raise DefinitionError(environment.broken[name])
    return environment.apps[name]


def refuse_clash(environment: Environment, app: App) -> None:
    """Raise DefinitionError if ``app`` cannot be beside another app of ``environment``."""
    if app.name in environment.clashing:
        raise DefinitionError(environment.clashing[app.name])


def find_name(environment: Environment, name: object) -> str:
    """Return ``name`` if ``environment`` has an app with this name. Its definition may be wrong.

    :raises Refused: there is no such app.
    """
    known = environment.names
    if not isinstance(name, str) or name not in known:
        raise Refused(
            f"unknown app {shown(name)} in environment {environment.name}{nearest(name, known)}{words.odd(name)}. "
            f"Apps there: {words.listed(known)}.{left_out(environment.unread, name if isinstance(name, str) else '')}"
        )
    return name


def known_by_name(environment: Environment, name: object) -> App:
    """Return the App called ``name``, without settings if its definition is wrong.

    This is for verbs that look at instances or remove them. They need no definition.

    :raises Refused: there is no such app.
    """
    name = find_name(environment, name)
    return environment.apps.get(name) or App(name=name, source=appdefinition.NO_SOURCE, run="")


def _node(name: str, raw: Mapping[str, Any], where: str, mistakes: Mistakes) -> Node:
    at = f"{where}:nodes:{words.name(name)}:address"
    found = mistakes.attempt(addresses.of_node, raw["address"], at, default="")
    return Node(name, found, tuple(raw.get("roles", ())), raw.get("zone", ""))


def _upstream(dns: Mapping[str, Any], at: str, mistakes: Mistakes) -> tuple[tuple[str, int | None], ...]:
    servers = enumerate(dns.get("upstream") or ())
    return tuple(mistakes.attempt(addresses.server, text, f"{at}:{number}") for number, text in servers)
