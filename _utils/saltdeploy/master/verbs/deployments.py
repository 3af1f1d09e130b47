"""The verbs of ``salt-run deploy.…`` that deploy: arguments in, a result out, as plain data.

An exception from here means that nothing was changed.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

from ... import discovery
from ...core import arguments, hooks, records, traffic, versions
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, REVERTED, Failed, NotReverted, Refused, cause
from ...core.model import version_of
from ...definition import loadbalancer
from ...discovery.registration import CANDIDATE
from ...planning import affinity, explain, planner
from ...planning.model import Desired
from .. import outcome, preflight
from ..remote.fleet import Fleet
from ..remote.jobs import Jobs
from ..rollout import contents, health, hookphases, measurements
from ..rollout.executor import Deployment
from .base import Task
from .maintenance import Operations
from .oncehooks import Settling
from .queries import Looking


class Control(Operations, Looking, Settling):
    """All verbs of the runner. The runner documents each verb."""

    def app(self, name, env, version, instances, nodes, publish, test, keep, reason, move):
        """Deploy a release of app ``name``."""
        environment, app = self._definitions(name, env, starts=True)
        version = versions.check(app, version)
        count = arguments.count("instances", instances, app.instances)
        loadbalancer.refuse_beyond(environment, app, count)
        with self._site(environment, app, nodes) as site:

            def decide(observed):
                site.not_paused()
                site.refuse_strangers(observed, keep)
                if publish and not keep:
                    preflight.refuse_unseen(site)
                traffic.refuse_unseen(app, site.discovery.instances(app.name, passing=True), site.observed)
                pause = records.pauses(app, version, site.record())
                self._advise(site, acts=not test)
                options = {"pause": pause, "analysis": True, "move": move}
                desired = Desired(app, version, count, site.nodes, publish, keep, **options)

                def make(desired, observed):
                    plan = planner.plan(desired, observed)
                    if plan.install or plan.waves:
                        preflight.files(site.fleet, app, version, site.nodes, self.journal)
                    if not plan.install and contents.may_change(app):
                        contents.check(site.fleet, app, version, (), observed, site.record())
                    return plan

                return self._deployment(site, observed, desired, make)

            result = self._carry_out(site, "deploy", decide, reason, test)
        record = result.get("record") or {}
        pauses = result["retcode"] == DONE and "paused" in record and record["deployment"] == result["deployment"]
        return self._wait_out(environment, app, result) if pauses and math.isfinite(app.strategy.pause) else result

    def promote(self, name, env, test, reason):
        """Continue the paused deployment."""
        environment, app = self._definitions(name, env)
        version, paused = self._paused(environment, app)
        # A choice of all nodes counts as no choice: then no other release may serve in the end.
        chosen = paused["nodes"] if set(paused["nodes"]) != set(environment.eligible(app)) else None
        with self._site(environment, app, chosen, choice=False) as site:

            def decide(observed):
                if (site.record() or {}).get("paused") != paused:
                    raise Refused(
                        f"somebody went on with {app.name} meanwhile: see salt-run deploy.status {app.name}"
                        f" env={environment.name}"
                    )
                site.tell_strangers(observed)
                options = {"adopt": True, "analysis": True, "move": paused.get("move", False)}
                desired = Desired(app, version, paused["instances"], site.nodes, **options)
                # The record changes in any case.
                return replace(self._deployment(site, observed, desired, planner.plan), changes=True)

            return self._carry_out(site, "promote", decide, reason, test)

    def abort(self, name, env, test, reason):
        """Revert the paused deployment. If none is paused, stop the candidates that wait for publication."""
        environment, app = self._definitions(name, env)
        with self._site(environment, app, choice=False, back=True) as site:

            def decide(observed):
                site.tell_strangers(observed)
                record = site.record() or {}
                paused, version = record.get("paused"), record.get("version", "")
                if paused:
                    if not paused["from"]:
                        raise Refused(
                            f"the record does not say which release served before {version}, so abort cannot go back."
                            f" Deploy the old release by its version: salt-run deploy.app {app.name}"
                            f" version=… env={environment.name}"
                        )
                    origin = versions.check(app, paused["from"])
                    # The deployment may have been on some nodes only. The other nodes keep their instances.
                    good = sum(i.good and i.version == origin for i in observed.instances)
                    count = max(paused["before"], good)
                    # Data that the new release wrote may be left on nodes where nothing ran before. That needs no
                    # second confirmation.
                    desired = Desired(app, origin, count, site.nodes, move=bool(app.data))
                    make = planner.plan
                else:
                    desired, make = Desired(app, version, 0, site.nodes), planner.without_candidates
                    if not make(desired, observed):
                        raise Refused(f"nothing of {name} is paused in {environment.name}, and no candidate waits.")
                said = version if paused else ""
                task = self._deployment(site, observed, desired, make, left=said)
                task = replace(task, changes=True, publishes=bool(paused))
                return replace(task, verdict=lambda result: outcome.aborted(result, desired, said))

            return self._carry_out(site, "abort", decide, reason, test)

    def _paused(self, environment, app):
        """Return the paused release and its entry in the record. Raises Refused if no deployment is paused."""
        with discovery.connect(environment.discovery) as backend:
            record = records.read(backend, records.prefix(environment.name, app.name))[0] or {}
        if not record.get("paused"):
            where = environment.name
            raise Refused(
                f"no deployment of {app.name} is paused in {where}: see salt-run deploy.status {app.name} env={where}"
            )
        return versions.check(app, record["version"]), record["paused"]

    def _wait_out(self, environment, app, result):
        """Wait out the pause without the lock, then promote. Abort if the new instances do not stay healthy."""
        record, prefix = result["record"], records.prefix(environment.name, app.name)
        service, new = traffic.watched(app, record)
        self.journal.say(f"paused for {app.strategy.pause:g}s: deploy.promote goes on at once, deploy.abort goes back")

        def lost(found):
            return new - {(e.minion, e.id.removesuffix(CANDIDATE)) for e in found}

        try:
            with discovery.connect(environment.discovery) as backend:
                gone = backend.wait(service, lost, time.monotonic() + app.strategy.pause, passing=True)
                bad = (
                    "it did not stay healthy while it was paused"
                    if gone
                    else self._measure(environment, app, service, new, backend)
                )
                now = records.read(backend, prefix)[0]
        except (Failed, *INTERRUPTS) as exc:
            verdict = f"{records.paused(app.name, environment.name, record)}. ({cause(exc)})"
            return {**result, "verdict": verdict, "retcode": NOT_REVERTED}
        if now != record:
            return {**result, "verdict": f"somebody went on with {app.name} meanwhile: {outcome.look_at(result)}"}
        try:
            if not bad:
                promoted = self.promote(app.name, environment.name, False, result["reason"])
                if promoted["retcode"] != REVERTED:
                    return promoted
                # The deployment is paused once more, and nobody is there to continue it.
                bad = f"after the pause, {promoted['why']}".partition("\n")[0]
            back = self.abort(app.name, environment.name, False, bad[: arguments.REASON])
        except (Refused, Failed, *INTERRUPTS) as exc:
            why = str(exc) if isinstance(exc, Refused) else cause(exc)
            paused, way = records.paused(app.name, environment.name, record), "back" if bad else "on"
            verdict = f"{paused}. (It could not go {way}: {why})"
            return {**result, "verdict": verdict, "retcode": NOT_REVERTED}
        return {**back, "retcode": REVERTED if back["retcode"] == DONE else NOT_REVERTED}

    def _measure(self, environment, app, service, new, backend):
        """Measure once more before a pause ends by itself, without the lock. Return the problem, or an empty text."""
        if service != app.name:
            return ""  # candidates have no clients, so there is nothing to measure
        node, instance = min(new)
        where = measurements.Where(environment.name, version_of(instance), node, instance)
        try:
            with Fleet(self.opts) as fleet:
                measurements.run(Jobs(fleet, self.journal), app, where, lambda: health.found(backend, app, new))
        except Failed as exc:
            return f"at the end of the pause, {exc}"
        return ""

    def publish(self, name, env, version, instances, nodes, test, keep, reason, move):
        """Publish the candidates that ``publish=False`` left."""
        environment, app = self._definitions(name, env, starts=True)
        wanted = None if version is None else versions.check(app, version)
        count = arguments.count("instances", instances, app.instances)
        loadbalancer.refuse_beyond(environment, app, count)
        with self._site(environment, app, nodes) as site:

            def decide(observed):
                site.not_paused()
                site.refuse_strangers(observed, keep)
                if not keep:
                    preflight.refuse_unseen(site)
                waiting = sorted({i.version for i in observed.instances if i.held and not i.published})
                if wanted is None and len(waiting) > 1:
                    chosen = " or ".join(map(versions.argument, waiting))
                    raise Refused(f"candidates of several releases wait. Choose one: {chosen}")
                chosen = wanted or versions.check(app, waiting[0] if waiting else None)
                desired = Desired(app, chosen, count, site.nodes, keep=keep, analysis=True, move=move)
                return self._deployment(site, observed, desired, planner.publication)

            return self._carry_out(site, "publish", decide, reason, test)

    def rollback(self, name, env, version, nodes, skip_tests, test, reason, move):
        """Roll app ``name`` back to the last good release, or to ``version``, which must still be installed."""
        environment, app = self._definitions(name, env)
        wanted = None if version is None else versions.check(app, version)
        with self._site(environment, app, nodes, back=True) as site:

            def decide(observed):
                site.tell_strangers(observed)
                record, history = _recorded(site), site.history()
                current = records.running(history, record)
                target = _retained(site, observed, wanted, current) if wanted else _last_good(site, history, current)
                self.journal.say(f"back from {app.name} {current} to {target}{_published_when(history, target)}")
                passed = ([], []) if wanted else records.passed(history, current, target)
                for sentence in _passing_over(app.name, current, target, passed):
                    self._warn(sentence)
                # Never fewer than serve now, because somebody may have scaled up for a reason.
                count = max(app.instances, sum(i.good and i.version == current for i in observed.instances))
                preferred = sorted(site.nodes, key=lambda n: target not in observed.releases.get(n, ()))
                desired = Desired(app, target, count, tuple(preferred), tests=not skip_tests, move=move)
                said = f", rolled back from {current}"
                return self._deployment(site, observed, desired, planner.plan, said, current)

            return self._carry_out(site, "rollback", decide, reason, test)

    def scale(self, name, env, instances, test, reason, move):
        """Run another number of instances of the recorded release."""
        environment, app = self._definitions(name, env, starts=True)
        count = arguments.count("instances", instances, None)
        if count is None:
            raise Refused(f"how many of {app.name}? Say instances=, the definition has {app.instances}.")
        loadbalancer.refuse_beyond(environment, app, count)
        with self._site(environment, app, choice=False) as site:

            def decide(observed):
                record = _recorded(site)
                if record.get("paused"):
                    raise Refused(records.paused(name, environment.name, record))
                site.refuse_strangers(observed)
                preflight.refuse_unseen(site)
                version = versions.check(app, record["version"])
                desired = Desired(app, version, count, site.nodes, move=move)
                said = f". The definition says {app.instances}: so will the next deploy.app without instances="
                said = said if count != app.instances else ""
                return self._deployment(site, observed, desired, planner.plan, said)

            return self._carry_out(site, "scale", decide, reason, test)

    # -- how a deployment is carried out ------------------------------------------------------

    def _deployment(self, site, observed, desired, make, said="", left=""):
        """Return the Task of a plan.

        :param make: makes the plan from ``desired`` and from ``observed`` with its health.
        :param said: a text that the verdict adds if the deployment succeeds.
        :param left: the release that a rollback leaves.
        """
        for warning in loadbalancer.lacking(site.app, desired.instances, observed.slots):
            self.journal.warn(warning)
        observed = preflight.health(site.discovery, desired, observed, self.journal)
        plan = make(desired, observed)
        known = {"app": site.app.name, "version": desired.version, "environment": site.environment.name}
        marks = hookphases.marks(site.discovery, site.prefix, desired.version) if site.app.hooks else {}
        if plan.install or plan.waves:
            hooks.refuse_unknown(site.app.name, site.environment.name, desired.version, marks)
        left_serving = preflight.left(site) if plan.waves else []
        return Task(
            version=desired.version,
            lines=[
                *explain.lines(plan, site.app.name, desired.version),
                *left_serving,
                *hooks.lines(site.app, plan, marks, known),
            ],
            # A frozen deployment is not frozen any more, so the record changes.
            changes=bool(plan) or "frozen" in (site.record() or {}),
            act=lambda lock, identity: self._execute(site, observed, desired, plan, lock, identity, left),
            verdict=lambda result: outcome.verdict(result, desired, said),
            more={"left": left} if left else {},
            actions=explain.actions(plan, observed, desired.version),
            publishes=desired.publish,
            keep=desired.keep,
            alone=not (desired.keep or plan.paused or site.chosen),
        )

    def _execute(self, site, observed, desired, plan, lock, identity, left):
        """Return the exit code, the reason, and the record as it is then, or None if nobody can tell."""
        before = site.record()
        jobs = Jobs(site.fleet, self.journal)
        serving = [i for i in observed.instances if i.published and i.running]
        seen = (site.answering, site.observed)
        digests = contents.recorded(before, observed)
        data = affinity.recorded(desired, observed, before)
        notes = {"data": data, "tolerated": sorted(site.tolerated), "digests": digests}
        about = (before, lock, identity, serving, notes)
        patient = replace(desired, app=site.app)
        deployment = Deployment(jobs, site.discovery, site.environment, patient, *seen, *about)
        content = (site.fleet, site.app, desired.version)
        try:
            if plan.install:
                known = digests.get(desired.version, "")
                deployment.artifact = self._agreed(content, plan.install, observed, known)
                digests.update({desired.version: deployment.artifact} if deployment.artifact else {})
            deployment.run(plan)
        except NotReverted as exc:
            return NOT_REVERTED, str(exc), exc.record
        except Failed as exc:
            return REVERTED, str(exc), deployment.before
        if plan.install and site.app.source.kind == "pip":
            self._warn_of_packages(content, contents.nodes(plan.install, observed, desired.version))
        if plan and desired.publish:
            self._tidy(site, planner.installed(observed, plan, desired.version), desired.version, left, lock, identity)
        return DONE, "", deployment.record

    def _agreed(self, content, nodes, observed, known):
        """Return the digest of the release on all nodes. Raises Failed, before any change, if they differ."""
        try:
            return contents.agree(*content, nodes, observed, known)
        except INTERRUPTS as exc:
            raise Failed(cause(exc)) from exc

    def _warn_of_packages(self, content, nodes):
        """Warn of packages that differ between nodes. If the comparison fails, the deployment has not failed."""
        try:
            warning = contents.differing_packages(*content, nodes)
        except (Exception, *INTERRUPTS) as exc:
            warning = f"whether all nodes have the same packages was not found out: {cause(exc)}"
        if warning:
            self.journal.warn(warning)

    def _tidy(self, site, observed, version, left, lock, identity):
        """Remove releases beyond ``keep_releases``. If that fails, the deployment has not failed."""
        if all(len(releases) <= site.app.strategy.keep_releases for releases in observed.releases.values()):
            return
        try:
            going = self._prunable(site, observed, version, (left,))
            self._remove_releases(site, going, identity)
            hookphases.forget(site, lock, observed, going)
        except (Exception, *INTERRUPTS) as exc:
            self.journal.warn(f"old releases were not removed, see deploy.prune: {cause(exc)}")


def _recorded(site):
    record = site.record()
    if not record:
        name, env = site.app.name, site.environment.name
        raise Refused(f"{name} is not deployed in {env}: salt-run deploy.app {name} env={env}")
    return record


def _retained(site, observed, version, current):
    """Return ``version``. Raises Refused if it runs now, or if no node has it any more."""
    name, env = site.app.name, site.environment.name
    if version == current:
        raise Refused(
            f"{name} {version} is the release that runs in {env}: see salt-run deploy.history {name} env={env}"
        )
    there = sorted({r for releases in observed.releases.values() for r in releases} - {current})
    if version not in there:
        raise Refused(
            f"{name} {version} is installed on no node any more. Retained are: {', '.join(there) or 'none'}."
            f" To install it again: salt-run deploy.app {name} {versions.argument(version)} env={env}"
        )
    return version


def _last_good(site, history, current):
    entry = records.last_good(history, current)
    if not entry:
        any_version, name, env = versions.argument("…"), site.app.name, site.environment.name
        raise Refused(
            f"the history of {name} in {env} has no good release before {current}: name one that is installed still"
            f" ({any_version}), or deploy one: salt-run deploy.app {name} {any_version} env={env}"
        )
    return versions.check(site.app, entry["record"]["version"])


def _passing_over(name, current, target, passed):
    """Yield surprising effects of a rollback, as sentences for the operator: see records.passed."""
    reverted, left = passed
    if reverted:
        yield (
            f"{name} {', '.join(reverted)} failed and was reverted before: clients have {current}. This goes"
            f" below it, to {target}."
        )
    if left:
        yield f"{name} {', '.join(left)} is passed over: a rollback left it, and nobody deployed it again since."


def _published_when(history, version):
    entry = next((e for e in history if (e["record"] or {}).get("version") == version), None)
    if not entry:
        return ", which the history has no more"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["record"]["time"]))
    return f", deployed {when} ({entry['record']['deployment']})"
