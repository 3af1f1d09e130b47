"""Verbs that change no deployment: they look, test, ask instances, or take away a lock."""

from __future__ import annotations

from ... import definition, discovery
from ...core import arguments, hooks, names, records, shapes, traffic, versions, words
from ...core.errors import DONE, REVERTED, Failed, Refused
from ...definition import loadbalancer
from ...planning import explain, planner
from ...planning.model import Desired
from .. import notify, preflight, status
from ..lock import held
from ..remote import answers
from ..remote.fleet import Fleet
from ..remote.jobs import TALK_DEADLINE, Jobs
from ..rollout import contents, hookphases
from ..rollout.acceptance import Acceptance
from .base import Verbs, stand_in

HISTORY_LIMIT = 10
UNPUBLISHED = ("candidate", "warm", "withdrawn")
# How much of a command is shown, in characters.
SHOWN = 300


class Looking(Verbs):
    """These verbs do not take the lock."""

    def check(self, name, env, version, instances, nodes, move):
        """Raise Refused, with the same message, if a deployment would be refused."""
        environment, app = self._definitions(name, env, looking=True, starts=True)
        version = versions.check(app, version)
        count = arguments.count("instances", instances, app.instances)
        loadbalancer.refuse_beyond(environment, app, count)
        with self._site(environment, app, nodes) as site:
            holder, _, session = site.discovery.read(records.lock_key(site.prefix))
            if session:
                raise Refused(held(shapes.holder(holder), {"app": app.name, "environment": environment.name}))
            site.not_paused()
            observed = self._observe(site)
            site.refuse_strangers(observed)
            preflight.refuse_unseen(site)
            traffic.refuse_unseen(app, site.discovery.instances(app.name, passing=True), site.observed)
            self._advise(site)
            for warning in (*loadbalancer.lacking(app, count, observed.slots), *notify.lacking(environment)):
                self.journal.warn(warning)
            pause = records.pauses(app, version, site.record())
            desired = Desired(app, version, count, site.nodes, pause=pause, analysis=True, move=move)
            plan = planner.plan(desired, preflight.health(site.discovery, desired, observed, self.journal))
            if app.hooks and (plan.install or plan.waves):
                marks = hookphases.marks(site.discovery, site.prefix, version)
                hooks.refuse_unknown(app.name, environment.name, version, marks)
            for warning in contents.check(site.fleet, app, version, plan.concerned, observed, site.record()):
                self.journal.warn(warning)
            preflight.files(site.fleet, app, version, site.nodes, self.journal)
            there = ", ".join(site.answering)
        verdict = (
            f"{name} {version} can be deployed in {environment.name}: its definition is valid, its nodes answer"
            f" ({there}), Consul has a leader, nobody deploys {name}, and there is room for"
            f" {count} instance{'s' * (count != 1)} and on the disks."
        )
        told = {"plan": explain.lines(plan, app.name, version), "actions": explain.actions(plan, observed, version)}
        about = {"app": app.name, "environment": environment.name, "version": version}
        return {**about, "verdict": verdict, **told, "warnings": self.journal.warnings, "retcode": DONE}

    def test(self, name, env, version, nodes):
        """Run the app's tests, from everywhere, on its candidates, or else on its published instances."""
        environment, app = self._definitions(name, env, looking=True)
        version = arguments.release(app, version)
        with self._site(environment, app, nodes) as site:
            observed = self._observe(site)
            # A warm instance is no candidate. It is tested only if its release is named.
            known = [i for i in observed.instances if i.running and i.recorded]
            running = [i for i in known if (version or (i.node, i.id) not in observed.warm)]
            chosen = [i for i in running if version in (None, i.version)]
            chosen = [i for i in chosen if not i.published] or chosen
            if not chosen:
                said = " ".join(filter(None, ["no instance of", name, version, "runs in", environment.name]))
                raise Refused(f"{said}. Deploy it before you test it.")
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

    def status(self, name, env):
        """Return the state of an app, or of all apps, in discovery and in the record, even without a definition."""
        every = name is None or name == ""
        word = None if every else arguments.word(name)
        environment = self._environment(env, word)
        self._warn_of_others(environment, word)
        with discovery.connect(environment.discovery) as backend:
            backend.leader()
            undefined = status.undefined(backend, environment)
            if every:
                chosen = [definition.known_by_name(environment, n) for n in environment.names]
                chosen += map(stand_in, undefined)
            else:
                chosen = [stand_in(word) if word in undefined else definition.known_by_name(environment, word)]
            replaced = backend.replaced()
            apps = [status.of_app(backend, environment, app, replaced) for app in chosen]
        return {"environment": environment.name, "apps": apps, "retcode": DONE}

    def history(self, name, env, limit):
        """Return the last deployments of an app, the newest first."""
        environment, app = self._defined_or_not(name, env, looking=True)
        limit = arguments.count("limit", limit, HISTORY_LIMIT)
        with discovery.connect(environment.discovery) as backend:
            newest, problems = records.history(backend, records.prefix(environment.name, app.name))
        if not newest and not problems:
            definition.find_name(environment, app.name)
        about = {"app": app.name, "environment": environment.name, "history": newest[:limit]}
        return {**about, "warnings": problems, "retcode": DONE}

    def unlock(self, name, env, force):
        """Show the holder of the lock. With ``force``, take the lock away."""
        environment, app = self._defined_or_not(name, env)
        key = records.lock_key(records.prefix(environment.name, app.name))
        with discovery.connect(environment.discovery) as backend:
            found, index, session = backend.read(key)
            holder = shapes.holder(found)
            if not session:
                definition.find_name(environment, app.name)
                return {"app": name, "verdict": f"{name} is not locked in {environment.name}.", "retcode": DONE}
            about = {"app": app.name, "environment": environment.name}
            if not force:
                raise Refused(held(holder, about))
            # If the value did not change, the run would see no other holder and take the lock again. The write fails
            # if another run has the lock by now.
            if not backend.replace(key, {**holder, "taken_by": self.owner}, index):
                raise Refused(f"the lock of {name} changed hands meanwhile: see who has it now, without force=True.")
            backend.destroy_session(session)
        run = f"the run of {holder['owner']}" if holder.get("owner") else "the run that held it"
        verdict = f"{name} in {environment.name} is unlocked. {run} can write nothing more."
        return {"app": name, "verdict": verdict, "retcode": DONE}

    # -- asking instances ---------------------------------------------------------------------

    def logs(self, name, env, nodes, instance, lines, since):
        """Return the last lines that instances printed: ``{node: {id: text}}``."""
        environment, app = self._known(name, env, looking=True)
        chosen = arguments.nodes(environment, app, nodes)
        wanted = {
            "instances": None if instance is None else [names.instance(instance)],
            "lines": arguments.count("lines", lines, None, arguments.LINES),
            "since": None if since is None else arguments.since(since),
            "strict": False,
        }
        with Fleet(self.opts) as fleet:
            replies = fleet.run("app.logs", chosen, app.name, deadline=TALK_DEADLINE, **wanted)
        replies = answers.compared(replies, lambda value: answers.logs(value, app.name))
        found = {node: reply.value for node, reply in replies.items() if reply.ok and reply.value}
        problems = {node: reply.error for node, reply in replies.items() if reply.error}
        if not found and problems:
            raise Refused(words.by_problem(problems))
        if not found:
            which = f"instance {instance}" if instance else "instance"
            see = f"salt-run deploy.status {app.name} env={environment.name}"
            raise Refused(f"no {which} of {app.name} is on {', '.join(chosen)}: see {see}")
        about = {"app": app.name, "environment": environment.name}
        return {**about, "logs": found, "problems": problems, "retcode": REVERTED if problems else DONE}

    def run(self, name, command, env, instance, node, timeout):
        """Run ``command`` once, as a running instance would. By default that is the first published instance."""
        environment, app = self._definitions(name, env)
        arguments.words(command)
        timeout = arguments.seconds("timeout", timeout)
        instance = None if instance is None else names.instance(instance)
        node = arguments.text("node", node)
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            where, which = _instance(status.of_app(backend, environment, app), instance, node)
            job = (app.name, command, which, timeout)
            replies = fleet.run("app.command", [where], *job, deadline=timeout + TALK_DEADLINE)
        reply = answers.compared(replies, lambda value: answers.command(value, which))[where]
        ran = reply.value if reply.ok else {"code": None, "output": reply.error}
        how = "did not run to its end" if ran["code"] is None else f"ended with {ran['code']}"
        return {
            "app": app.name,
            "environment": environment.name,
            "node": where,
            "instance": which,
            **ran,
            "seconds": round(reply.seconds, 3),
            "verdict": f"{command if len(command) <= SHOWN else command[:SHOWN] + '…'} {how}, as {which} on {where}",
            "retcode": DONE if ran["code"] == 0 else REVERTED,
        }


def _instance(state, instance, node):
    """Return the node and the id of the requested instance. Published instances come first."""
    rows = sorted((r for r in state["instances"] if r["state"] != "lost"), key=lambda r: r["state"] in UNPUBLISHED)
    fitting = [r for r in rows if instance in (None, r["id"]) and node in (None, r["node"])]
    if not fitting or (instance is None and fitting[0]["state"] in UNPUBLISHED):
        there = ", ".join(f"{r['id']} on {r['node']} ({r['state']})" for r in rows)
        asked = " ".join(filter(None, [instance, node and f"on {node}"])) or "that is published"
        raise Refused(f"no instance of {state['app']} {asked}. There are: {there or 'none'}. Say instance= and node=")
    return fitting[0]["node"], fitting[0]["id"]
