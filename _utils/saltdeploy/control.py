"""What ``salt-run deploy.…`` does: arguments in, a result out, as plain data.

Whatever is raised from here means that nothing was changed.
"""

from __future__ import annotations

import contextlib
import datetime
import getpass
import os
import secrets
import socket
import time
from dataclasses import dataclass

import salt.pillar

from . import arguments, definition, discovery, planner, preflight, records, status
from .acceptance import Acceptance
from .errors import INTERRUPTS, Failed, Refused
from .executor import Deployment, Identity, NotReverted, cause
from .fleet import Fleet
from .jobs import Jobs, told_ids
from .journal import Journal
from .lock import Lock, held
from .model import App, Environment

# Exit codes of salt-run, and the word for each.
DONE, REVERTED, NOT_REVERTED, REFUSED = range(4)
HISTORY_LIMIT = 10


@dataclass
class Site:
    """One app in one environment, with both its doors open: its minions and its discovery.

    :param answering: nodes of the environment that answer.
    :param nodes: those that are to run the app; ``observed``: those whose instances are looked at.
    """

    environment: Environment
    app: App
    fleet: Fleet
    discovery: object
    answering: list[str]
    nodes: tuple[str, ...]
    observed: list[str]

    @property
    def prefix(self):
        return records.prefix(self.environment.name, self.app.name)

    def record(self):
        """Return what runs now according to the record, None if nothing ever did."""
        return self.discovery.read(records.current_key(self.prefix))[0]


class Control:
    """The master's side.

    :param opts: the master's options (``__opts__`` of a runner).
    :param emit: called with each event of the journal as it happens.
    """

    def __init__(self, opts, emit=lambda event: None):
        self.opts, self.journal = opts, Journal(emit)

    # -- deployments --------------------------------------------------------------------------

    def app(self, name, env, version, instances, nodes, publish, test, keep, reason):
        """Take app ``name`` to a release; see the runner's ``deploy.app``."""
        environment, app = self._definitions(name, env)
        version = definition.check_version(app, version)
        count = arguments.count("instances", instances, app.instances)

        def decide(site, observed):
            desired = planner.Desired(app, version, count, site.nodes, publish, keep)
            return desired, planner.plan(desired, observed)

        with self._site(environment, app, nodes) as site:
            return self._deploy(site, decide, reason, test)

    def publish(self, name, env, version, instances, nodes, test, keep, reason):
        """Publish the candidates that ``publish=False`` left; see the runner's ``deploy.publish``."""
        environment, app = self._definitions(name, env)
        wanted = None if version is None else definition.check_version(app, version)
        count = arguments.count("instances", instances, app.instances)

        def decide(site, observed):
            waiting = sorted({i.version for i in observed.instances if i.held and not i.published})
            if wanted is None and len(waiting) > 1:
                raise Refused(f"candidates of several releases wait: say version=, one of {', '.join(waiting)}")
            chosen = wanted or definition.check_version(app, waiting[0] if waiting else None)
            desired = planner.Desired(app, chosen, count, site.nodes, keep=keep)
            return desired, planner.publication(desired, observed)

        with self._site(environment, app, nodes) as site:
            return self._deploy(site, decide, reason, test)

    def _deploy(self, site, decide, reason, test):
        """observe → plan → execute, with the lock held."""
        if test:
            desired, plan = decide(site, self._observe(site))
            return {**_about(site, desired), "plan": plan.lines(site.app.name, desired.version), "retcode": DONE}
        began = time.time()
        identity = Identity(_new_id(), _owner(), reason)
        who = {"deployment": identity.id, "owner": identity.owner, "reason": reason}
        info = {**who, "app": site.app.name, "environment": site.environment.name}
        with Lock(site.discovery, records.lock_key(site.prefix), info) as lock:
            observed = self._observe(site)
            desired, plan = decide(site, observed)
            lines = plan.lines(site.app.name, desired.version)
            for line in lines:
                self.journal.say(line)
            code, why, record = self._execute(site, observed, desired, plan, lock, identity)
            result = {
                **_about(site, desired),
                **who,
                "plan": lines,
                "steps": self.journal.as_data(),
                "warnings": self.journal.warnings,
                "began": began,
                "seconds": round(time.time() - began, 3),
                "changed": bool(plan),
                "why": why,
                "record": record,
                "retcode": code,
            }
            result["verdict"] = _verdict(result, desired)
            if plan:
                self._remember(site, lock, identity, result)
        return result

    def _execute(self, site, observed, desired, plan, lock, identity):
        """Return the exit code, why, and the record as it is then (None where nobody can tell)."""
        before = site.record()
        jobs = Jobs(site.fleet, self.journal)
        serving = [i for i in observed.instances if i.published and i.running]
        seen = (site.answering, site.observed)
        deployment = Deployment(jobs, site.discovery, site.environment, desired, *seen, before, lock, identity, serving)
        try:
            deployment.run(plan)
        except NotReverted as exc:
            return NOT_REVERTED, str(exc), None
        except Failed as exc:
            return REVERTED, str(exc), before
        return DONE, "", deployment.record

    def _remember(self, site, lock, identity, result):
        """Keep ``result`` as history. What was done is told even where that fails."""
        try:
            lock.write({records.history_key(site.prefix, identity.id): result})
        except (Failed, *INTERRUPTS) as exc:
            self.journal.warn(f"the history of this deployment could not be written: {cause(exc)}")

    # -- looking and testing ------------------------------------------------------------------

    def test(self, name, env, version, nodes):
        """Run the app's tests, from everywhere, on its candidates; without any on what is published."""
        environment, app = self._definitions(name, env)
        with self._site(environment, app, nodes) as site:
            running = [i for i in self._observe(site).instances if i.running]
            chosen = [i for i in running if version in (None, i.version)]
            chosen = [i for i in chosen if not i.published] or chosen
            if not chosen:
                raise Refused(f"no instance of {name} {version or ''} runs in {environment.name}: nothing to test.")
            acceptance = Acceptance(Jobs(site.fleet, self.journal), environment, app, site.answering)
            why = ""
            try:
                acceptance.from_nodes(chosen)
                acceptance.from_elsewhere(chosen)
            except Failed as exc:
                why = str(exc)
        ids = ", ".join(f"{i.id} on {i.node}" for i in chosen)
        verdict = f"{name} failed: {why}" if why else f"{name}: {len(app.tests)} tests passed on {ids}"
        return {"app": name, "verdict": verdict, "steps": self.journal.as_data(), "retcode": REVERTED if why else DONE}

    def withdraw(self, name, env, version, nodes, confirm, test, reason):
        """Take instances out of discovery; they run on as candidates. See the runner's ``deploy.withdraw``."""
        environment, app = self._definitions(name, env)
        with self._site(environment, app, nodes) as site:
            published = [i for i in self._observe(site).instances if i.published]
            going = [i for i in published if version in (None, i.version)]
            if not going:
                raise Refused(f"nothing of {name} {version or ''} is published on {', '.join(site.nodes)}.")
            others = {(e.minion, e.id) for e in site.discovery.instances(app.name, passing=True)}
            if not others - {(i.node, i.id) for i in going} and not (confirm or test):
                raise Refused(f"no instance of {name} would be left for users: say so with confirm=True.")
            lines = [f"withdraw {i.id} on {i.node}" for i in going]
            if test:
                return {"app": name, "environment": environment.name, "plan": lines, "retcode": DONE}
            info = {"app": name, "environment": environment.name, "owner": _owner(), "reason": reason}
            with Lock(site.discovery, records.lock_key(site.prefix), {**info, "deployment": _new_id()}) as lock:
                why = self._withdraw(site, going, lock)
        verdict = (
            f"{len(going)} of {name} withdrawn in {environment.name}; they run on: deploy.publish brings them back."
        )
        return {
            "app": name,
            "verdict": f"failed: {why}" if why else verdict,
            "steps": self.journal.as_data(),
            "retcode": NOT_REVERTED if why else DONE,
        }

    def _withdraw(self, site, instances, lock):
        ids = {}
        for i in instances:
            ids.setdefault(i.node, []).append(i.id)
        record = site.record()
        if record:
            left = {n: [i for i in listed if i not in ids.get(n, ())] for n, listed in record["nodes"].items()}
            lock.write({records.current_key(site.prefix): {**record, "nodes": {n: i for n, i in left.items() if i}}})
        jobs = Jobs(site.fleet, self.journal)
        try:
            jobs.run("withdraw", "discovery.withdraw", ids, site.app.name, ids, told=told_ids)
        except (Failed, *INTERRUPTS) as exc:
            return cause(exc)
        return ""

    def unlock(self, name, env, force):
        """Show who holds the lock; with ``force`` take it from them."""
        environment, app = self._definitions(name, env)
        key = records.lock_key(records.prefix(environment.name, app.name))
        with discovery.connect(environment.discovery) as backend:
            holder, _, session = backend.read(key)
            if not session:
                return {"app": name, "verdict": f"{name} is not locked in {environment.name}.", "retcode": DONE}
            if not force:
                raise Refused(held(holder))
            # Else its run would find nobody after it, and take it again.
            backend.write({key: {**holder, "taken_by": _owner()}})
            backend.destroy_session(session)
        verdict = f"{name} in {environment.name} is unlocked; {holder.get('owner')}'s run can write nothing more."
        return {"app": name, "verdict": verdict, "retcode": DONE}

    def status(self, name, env):
        """Return what discovery and the record have of one app, or of all."""
        environment = self._environment(env)
        names = [definition.find_app(environment, name).name] if name else list(environment.apps)
        with discovery.connect(environment.discovery) as backend:
            backend.leader()
            apps = [status.of_app(backend, environment, environment.apps[n]) for n in names]
        return {"environment": environment.name, "apps": apps, "retcode": DONE}

    def history(self, name, env, limit):
        """Return the last deployments of an app, the newest first."""
        environment, app = self._definitions(name, env)
        limit = arguments.count("limit", limit, HISTORY_LIMIT)
        with discovery.connect(environment.discovery) as backend:
            entries = backend.read_all(records.history_key(records.prefix(environment.name, app.name)))
        newest = [entries[key] for key in sorted(entries, reverse=True)]
        return {"app": name, "environment": environment.name, "history": newest[:limit], "retcode": DONE}

    # -- helpers ------------------------------------------------------------------------------

    def _environment(self, env):
        # To a minion Salt does not say what is wrong with a pillar file; the master's own user may know.
        opts = {**self.opts, "pillar_safe_render_error": False}
        pillar = salt.pillar.Pillar(opts, {}, opts["id"], opts.get("saltenv") or "base").compile_pillar()
        if pillar.get("_errors"):
            raise Refused(f"the pillar has errors: {'; '.join(map(str, pillar['_errors']))}")
        if not pillar.get("environments"):
            raise Refused(
                f"this master's own pillar has no environments: in pillar/top.sls, give {self.opts['id']!r}"
                " (its id) environments.all, and define one in pillar/environments/."
            )
        return definition.load(pillar, env)

    def _definitions(self, name, env):
        if not name:
            raise Refused("which app? Say its name first, for example: salt-run deploy.app shop")
        environment = self._environment(env)
        return environment, definition.find_app(environment, str(name))

    @contextlib.contextmanager
    def _site(self, environment, app, nodes):
        """Preflight, with both doors open."""
        chosen = arguments.nodes(environment, app, nodes)
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            preflight.requirements(backend, app)
            there = preflight.answering(fleet, environment, chosen, self.journal)
            yield Site(environment, app, fleet, backend, there, chosen, chosen if nodes is not None else there)

    def _observe(self, site):
        return preflight.observe(site.fleet, site.app, site.observed, self.journal, site.environment.zones)


def _about(site, desired):
    return {"app": site.app.name, "environment": site.environment.name, "version": desired.version}


def _verdict(result, desired):
    """Return the outcome in words a person understands at once."""
    what, where = f"{result['app']} {result['version']}", result["environment"]
    why = result["why"].partition("\n")[0]
    if result["retcode"] == NOT_REVERTED:
        look = f"salt-run deploy.status {result['app']} env={where}"
        return f"{what} FAILED in {where} and is NOT wholly reverted, look now ({look}): {why}"
    if result["retcode"] == REVERTED:
        return f"{what} was not deployed in {where}; all is as before ({_running(result)}): {why}"
    if not desired.publish:
        candidates = f"{desired.instances} candidate{'s' * (desired.instances != 1)}"
        return f"{what} waits in {where} as {candidates}: look at it, then salt-run deploy.publish {result['app']}"
    done = "is published" if result["changed"] else "was already published, nothing was done"
    return f"{what} {done} in {where}: {_running(result)}"


def _running(result):
    nodes = (result["record"] or {}).get("nodes", {})
    total = sum(map(len, nodes.values()))
    if not total:
        return "nothing is published"
    return f"{total} instance{'s' * (total != 1)} of {result['record']['version']} on {', '.join(sorted(nodes))}"


def _new_id():
    """Return the id of a deployment: sorts by time, and two at once differ."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _owner():
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"
