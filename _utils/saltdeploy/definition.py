"""Pillar in, validated App and Environment out. Pure: no files, no network, no Salt calls."""

from __future__ import annotations

import contextlib

from . import (
    addresses,
    appdefinition,
    bluegreen,
    bounds,
    clashes,
    cluster,
    events,
    inheritance,
    urls,
    validation,
    words,
)
from .errors import DefinitionError, Refused
from .inheritance import left_out, mapping, merge, named, resolve
from .model import App, Environment, Node
from .words import nearest, shown


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
            app = appdefinition.parse(name, merged, raw, where)
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


def _node(name, raw, where):
    found = addresses.of_node(raw["address"], f"{where}:nodes:{words.name(name)}:address")
    return Node(name, found, tuple(raw.get("roles", ())), raw.get("zone", ""))


def _upstream(dns, at):
    return tuple(addresses.server(text, f"{at}:{number}") for number, text in enumerate(dns.get("upstream") or ()))
