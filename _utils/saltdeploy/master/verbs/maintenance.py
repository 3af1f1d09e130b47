"""Verbs for running instances and old releases: restart, withdraw, remove, prune."""

from __future__ import annotations

import time
from dataclasses import replace

from ... import definition
from ...core import arguments, bluegreen, hooks, records
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, Failed, Refused, cause
from ...discovery.registration import first_result
from ...planning import explain, planner
from ...planning.explain import listed
from ...planning.model import Desired
from .. import membership, outcome, preflight
from ..remote import answers
from ..remote.jobs import Jobs, PhaseFailed, ids_by_node, most, stop_deadline, told_ids
from ..rollout import health, hookphases
from .base import Task, Verbs


class Operations(Verbs):
    """These verbs start no other release. They report a failure half way, and do not undo it."""

    # -- restart ------------------------------------------------------------------------------

    def restart(self, name, env, confirm, test, reason):
        """Restart the published instances, wave by wave, until the first failure or death of an instance."""
        environment, app = self._definitions(name, env)
        with self._whole_site(environment, app) as site:

            def decide(observed):
                version = (site.record() or {}).get("version", "")
                seen = self._up(site, observed, version)
                waves = planner.restarts(seen, environment.eligible(app), app.strategy.waves)
                if not waves:
                    raise Refused(f"nothing of {app.name} is published in {environment.name}: nothing to restart.")
                if [len(ids) for wave in waves for ids in wave.values()] == [1] and not (confirm or test):
                    raise Refused(
                        f"users have one instance of {app.name} only, and none while it restarts: say so with"
                        f" confirm=True, or run more first: salt-run deploy.scale {app.name} instances=2"
                        f" env={environment.name}"
                    )
                lines = [f"wave {number}: restart {listed(wave)}" for number, wave in enumerate(waves, 1)]
                up = _pairs(ids_by_node([i for i in seen.instances if i.published and i.running]))
                return Task(
                    version,
                    lines,
                    True,
                    lambda lock, identity: self._restart(site, waves, up, lock, identity),
                    _restarted,
                    restarts=frozenset().union(*map(_pairs, waves)),
                )

            return self._carry_out(site, "restart", decide, reason, test)

    def _up(self, site, observed, version):
        """Return ``observed``, in which instances that discovery does not have as healthy count as not running.

        They serve no clients. So they are restarted first, and no restart counts on them.
        """
        seen = preflight.health(site.discovery, Desired(site.app, version, 0, site.nodes), observed, self.journal)
        return replace(seen, instances=tuple(replace(i, running=i.running and i.healthy) for i in seen.instances))

    def _restart(self, site, waves, up, lock, identity):
        """Restart one instance on each node of a wave at a time, while all other counted instances serve.

        :param up: ``(node, id)`` of the instances that serve at the beginning.
        """
        record, counted = site.record(), set(up)
        left = [(number, ids) for number, wave in enumerate(waves, 1) for ids in _in_turn(wave, up)]
        try:
            while left:
                self.journal.wave, ids = left[0]
                lock.check()
                self._others_serve(site, counted - _pairs(ids))
                left.pop(0)
                self._restart_some(site, ids, identity)
                counted |= _pairs(ids)
            self._others_serve(site, counted)
        except BaseException as exc:
            untouched = f"{', '.join(listed(ids) for _, ids in left)} not restarted; " if left else ""
            return NOT_REVERTED, f"{untouched}{cause(exc)}", record
        return DONE, "", record

    def _others_serve(self, site, counted):
        """Make sure that clients find all of ``counted``, pairs of node and id, before more are taken out."""
        ids = {node: [i for n, i in sorted(counted) if n == node] for node, _ in counted}
        health.still_serve(self.journal, site.discovery, site.app, ids)

    def _restart_some(self, site, ids, identity):
        app, strategy = site.app, site.app.strategy
        slowest = strategy.healthy_deadline + sum(t.timeout for t in app.tests) + first_result(app)
        each = strategy.drain + 2 * app.stop.timeout + slowest
        job, options = ("restart", "app.restart", ids, app.name, ids), {"deployment": identity.id}
        options.update(deadline=stop_deadline(app, ids) + most(ids) * each, told=told_ids, answer=answers.exactly(ids))
        jobs = Jobs(site.fleet, self.journal)
        jobs.run(*job, **options)
        health.wait(jobs, site.discovery, app, ids, time.monotonic() + strategy.healthy_deadline)

    # -- withdraw -----------------------------------------------------------------------------

    def withdraw(self, name, env, version, nodes, confirm, test, reason):
        """Take instances out of discovery. They run on as candidates."""
        environment, app = self._definitions(name, env)
        version = arguments.release(app, version)
        with self._site(environment, app, nodes, back=True) as site:

            def decide(observed):
                published = [i for i in observed.instances if i.published]
                going = [i for i in published if version in (None, i.version)]
                if not going:
                    raise Refused(f"nothing of {name} {version or ''} is published on {', '.join(site.nodes)}.")
                planner.refuse_lost(going)
                found = site.discovery.instances(app.name, passing=True)
                ours, _ = membership.divide(found, app.name, environment, site.known)
                others = {(e.minion, e.id) for e in ours}
                if not others - {(i.node, i.id) for i in going} and not (confirm or test):
                    raise Refused(f"no instance of {name} would be left for clients. To do it, say confirm=True.")
                lines = [f"withdraw {i.id} on {i.node}" for i in going]
                which = ", ".join(sorted({i.version for i in going}))
                return Task(
                    which, lines, True, lambda lock, identity: self._withdraw(site, going, lock, identity), _withdrawn
                )

            return self._carry_out(site, "withdraw", decide, reason, test)

    def _withdraw(self, site, instances, lock, identity):
        ids, record, jobs = ids_by_node(instances), site.record(), Jobs(site.fleet, self.journal)
        try:
            if record:
                left = {n: [i for i in some if i not in ids.get(n, ())] for n, some in record["nodes"].items()}
                rest = {**record, "nodes": {n: some for n, some in left.items() if some}}
                lock.write({records.current_key(site.prefix): rest})
                record = rest
            job = ("withdraw", "discovery.withdraw", ids, site.app.name, ids)
            jobs.run(*job, deployment=identity.id, told=told_ids, answer=answers.exactly(ids))
        except (Failed, *INTERRUPTS) as exc:
            return NOT_REVERTED, cause(exc), record
        return DONE, "", record

    # -- remove -------------------------------------------------------------------------------

    def remove(self, name, env, confirm, test, reason):
        """Remove an app: its instances, its releases and its record. The history stays."""
        # A running app can be removed even if no environment defines it any more.
        environment, app = self._defined_or_not(name, env)
        with self._whole_site(environment, app) as site:

            def decide(observed):
                # Services that others have registered may stay.
                theirs = (membership.Kind.OTHER, membership.Kind.FOREIGN)
                membership.refuse(site.strangers(observed), app.name, environment.name, theirs)
                ids, releases = planner.everything(observed)
                record = site.record()
                if app.name not in environment.apps and not (ids or releases or record):
                    definition.find_app(environment, app.name)
                lines = [f"withdraw, drain and stop {listed(ids)}"] if ids else []
                lines += [f"remove the releases {listed(releases)}"] if releases else []
                lines += [f"forget the record: {outcome.running(record)}"] if record else []
                needing = sorted(a.name for a in environment.apps.values() if app.name in a.requires)
                if lines and not (confirm or test):
                    needed = f" {', '.join(needing)} would miss it." if needing else ""
                    raise Refused(f"say confirm=True to {'; '.join(lines)}.{needed}")
                return Task(
                    version=(record or {}).get("version", ""),
                    lines=lines or ["nothing to do: there is nothing of it"],
                    changes=bool(lines),
                    act=lambda lock, identity: self._remove(site, ids, releases, record, lock, identity),
                    verdict=lambda result: _removed(result, explain.data_folders(observed)),
                    removes=True,
                )

            return self._carry_out(site, "remove", decide, reason, test)

    def _remove(self, site, ids, releases, record, lock, identity):
        key, jobs = records.current_key(site.prefix), Jobs(site.fleet, self.journal)
        options = {"deployment": identity.id, "deadline": stop_deadline(site.app, ids), "told": told_ids}
        try:
            lock.check()
            try:
                job = ("stop", "app.stop", ids, site.app.name, ids)
                jobs.run(*job, answer=answers.exactly(ids), **options)
            except PhaseFailed as exc:
                record = record and {**record, "nodes": {n: i for n, i in record["nodes"].items() if n in exc.nodes}}
                if record:
                    lock.write({key: record})
                raise
            if record:
                lock.write({}, [key])
                record = None
            self._remove_releases(site, releases, identity)
            marks = site.discovery.keys(hooks.marks_key(site.prefix))
            if marks:
                lock.write({}, marks)
        except BaseException as exc:
            return NOT_REVERTED, cause(exc), record
        return DONE, "", None

    # -- prune --------------------------------------------------------------------------------

    def prune(self, name, env, test, reason):
        """Remove installed releases beyond ``keep_releases``, on each node that answers."""
        environment, app = self._definitions(name, env)
        with self._whole_site(environment, app) as site:

            def decide(observed):
                record = site.record()
                version, over = (record or {}).get("version", ""), bluegreen.over(record, observed)
                rest = [i for i in observed.instances if i.id not in over.get(i.node, ())]
                going = self._prunable(site, replace(observed, instances=tuple(rest)), version)
                retired = [f"retire the warm instances whose time is over: {listed(over)}"] if over else []
                kept = f"nothing to do: no node has a release to spare beyond the {app.strategy.keep_releases} kept"
                return Task(
                    version=version,
                    lines=[*retired, *([f"remove the releases {listed(going)}"] if going else [])] or [kept],
                    changes=bool(over or going),
                    act=lambda lock, identity: self._prune(site, observed, over, going, lock, identity),
                    verdict=lambda result: _pruned(result, over, going),
                )

            return self._carry_out(site, "prune", decide, reason, test)

    def _prune(self, site, observed, over, going, lock, identity):
        record = site.record()
        try:
            if over:
                jobs, deadline = Jobs(site.fleet, self.journal), stop_deadline(site.app, over)
                job, options = ("retire", "app.stop", over, site.app.name, over), {"deployment": identity.id}
                jobs.run(*job, deadline=deadline, told=told_ids, answer=answers.exactly(over), **options)
                record = bluegreen.cooled(record, over)
                lock.write({records.current_key(site.prefix): record})
            self._remove_releases(site, going, identity)
            hookphases.forget(site, lock, observed, going)
        except BaseException as exc:
            return NOT_REVERTED, cause(exc), record
        return DONE, "", record

    def _prunable(self, site, observed, version, left=()):
        """Return node -> versions beyond ``keep_releases``, without running releases and a rollback's target."""
        good = records.last_good(site.history(), version, left)
        stay = {version, *([good["record"]["version"]] if good else ())}
        return planner.prunable(observed, site.app.strategy.keep_releases, stay)

    def _remove_releases(self, site, releases, identity):
        options = {"deployment": identity.id, "told": lambda gone: f"removed {', '.join(gone)}"}
        options["answer"] = answers.removed(releases)
        Jobs(site.fleet, self.journal).run("prune", "deploy.prune", releases, site.app.name, releases, **options)


def _pairs(ids):
    """Return ``(node, id)`` of node -> ids."""
    return frozenset((node, i) for node, some in ids.items() for i in some)


def _in_turn(wave, up):
    """Yield the parts of a wave that are out at once: an instance of each node. Idle instances come first.

    :param wave: node -> ids.
    """
    order = {node: sorted(ids, key=lambda i: (node, i) in up) for node, ids in wave.items()}
    for turn in range(most(wave)):
        yield {node: ids[turn : turn + 1] for node, ids in order.items() if len(ids) > turn}


def _why(result):
    return result["why"].partition("\n")[0]


def _restarted(result):
    what, where = f"{result['app']} {result['version']}".rstrip(), result["environment"]
    if result["retcode"] != DONE:
        look = outcome.look_at(result)
        why = result.get("untrue") or _why(result)
        return f"the restart of {what} in {where} FAILED and stopped there, look now ({look}): {why}"
    return f"{what} was restarted in {where}: {outcome.running(result['serving'])}"


def _withdrawn(result):
    if result["retcode"] != DONE:
        return f"failed: {result['why']}"
    count, name, where = len(result["plan"]), result["app"], result["environment"]
    return f"{count} of {name} withdrawn in {where}. They run on, and deploy.publish brings them back."


def _removed(result, data):
    """Return the outcome in words. ``data`` says where the app's data is."""
    name, where = result["app"], result["environment"]
    if result["retcode"] != DONE:
        why = result.get("untrue") or _why(result)
        return f"{name} could not be removed completely from {where}, repair and run it again: {why}"
    if not result["changed"]:
        return f"there is nothing of {name} in {where}, nothing was done"
    return f"{name} is removed from {where}. Its history stays{f', and its data stays: {data}' if data else ''}"


def _pruned(result, over, going):
    name, where = result["app"], result["environment"]
    if result["retcode"] != DONE:
        return f"releases of {name} in {where} were NOT all removed, repair and run it again: {_why(result)}"
    done = [f"{what} {listed(ids)}" for what, ids in (("retired", over), ("removed", going)) if ids]
    return f"{name} in {where}: {'; '.join(done) or result['plan'][0]}"
