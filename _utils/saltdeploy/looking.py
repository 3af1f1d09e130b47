"""Verbs that change nothing of what is deployed: look, test, ask instances; and take away a lock."""

from __future__ import annotations

from . import (
    arguments,
    definition,
    discovery,
    hookrun,
    hooks,
    names,
    planner,
    preflight,
    records,
    status,
    traffic,
)
from .acceptance import Acceptance
from .errors import DONE, REVERTED, Failed, Refused
from .fleet import Fleet
from .jobs import TALK_DEADLINE, Jobs
from .lock import held
from .site import Verbs, history, owner

HISTORY_LIMIT = 10
UNPUBLISHED = ("candidate", "warm")
# How much of a command is shown, in characters.
SHOWN = 300


class Looking(Verbs):
    """None of these takes the lock."""

    def check(self, name, env, version, instances, nodes, move):
        """Find out whether a deployment would be refused; it is, with the same message, where it would."""
        environment, app = self._definitions(name, env)
        version = definition.check_version(app, version)
        count = arguments.count("instances", instances, app.instances)
        with self._site(environment, app, nodes) as site:
            holder, _, session = site.discovery.read(records.lock_key(site.prefix))
            if session:
                raise Refused(held(holder))
            site.not_paused()
            observed = self._observe(site)
            traffic.refuse_unseen(app, site.discovery.instances(app.name, passing=True), site.observed)
            desired = planner.Desired(app, version, count, site.nodes, pause=app.strategy.pause > 0, move=move)
            plan = planner.plan(desired, preflight.health(site.discovery, desired, observed, self.journal))
            if app.hooks and (plan.install or plan.waves):
                hooks.refuse_unknown(app.name, version, hookrun.marks(site.discovery, site.prefix, version))
            preflight.room(site.fleet, app, version, plan.install)
            there = ", ".join(site.answering)
        verdict = (
            f"{name} {version} can be deployed in {environment.name}: its definition is valid, its nodes answer"
            f" ({there}), Consul has a leader, nobody deploys {name}, and there is room for"
            f" {count} instance{'s' * (count != 1)} and on the disks."
        )
        lines = plan.lines(app.name, version)
        about = {"app": app.name, "environment": environment.name, "version": version}
        return {**about, "verdict": verdict, "plan": lines, "warnings": self.journal.warnings, "retcode": DONE}

    def test(self, name, env, version, nodes):
        """Run the app's tests, from everywhere, on its candidates; without any on what is published."""
        environment, app = self._definitions(name, env)
        version = arguments.release(app, version)
        with self._site(environment, app, nodes) as site:
            observed = self._observe(site)
            # What is warm is no candidate: it is tested where its release is named.
            known = [i for i in observed.instances if i.running and i.recorded]
            running = [i for i in known if (version or (i.node, i.id) not in observed.warm)]
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

    def status(self, name, env):
        """Return what discovery and the record have of one app, or of all."""
        environment = self._environment(env)
        every = name is None or name == ""
        chosen = list(environment.apps) if every else [definition.find_app(environment, arguments.word(name)).name]
        with discovery.connect(environment.discovery) as backend:
            backend.leader()
            apps = [status.of_app(backend, environment, environment.apps[n]) for n in chosen]
        return {"environment": environment.name, "apps": apps, "retcode": DONE}

    def history(self, name, env, limit):
        """Return the last deployments of an app, the newest first."""
        environment, app = self._definitions(name, env)
        limit = arguments.count("limit", limit, HISTORY_LIMIT)
        with discovery.connect(environment.discovery) as backend:
            newest = history(backend, records.prefix(environment.name, app.name))
        return {"app": name, "environment": environment.name, "history": newest[:limit], "retcode": DONE}

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
            backend.write({key: {**holder, "taken_by": owner()}})
            backend.destroy_session(session)
        verdict = f"{name} in {environment.name} is unlocked; {holder.get('owner')}'s run can write nothing more."
        return {"app": name, "verdict": verdict, "retcode": DONE}

    # -- asking instances ---------------------------------------------------------------------

    def logs(self, name, env, nodes, instance, lines, since):
        """Return the last lines that instances printed: ``{node: {id: text}}``."""
        environment, app = self._definitions(name, env)
        chosen = arguments.nodes(environment, app, nodes)
        wanted = {
            "instances": None if instance is None else [names.instance(instance)],
            "lines": arguments.count("lines", lines, None, arguments.LINES),
            "since": None if since is None else arguments.since(since),
            "strict": False,
        }
        with Fleet(self.opts) as fleet:
            replies = fleet.run("app.logs", chosen, app.name, deadline=TALK_DEADLINE, **wanted)
        found = {node: reply.value for node, reply in replies.items() if reply.ok and reply.value}
        problems = {node: reply.error for node, reply in replies.items() if reply.error}
        if not found and problems:
            raise Refused(preflight.by_problem(problems))
        if not found:
            which = f"instance {instance}" if instance else "instance"
            raise Refused(f"no {which} of {app.name} is on {', '.join(chosen)}: see salt-run deploy.status {app.name}")
        about = {"app": app.name, "environment": environment.name}
        return {**about, "logs": found, "problems": problems, "retcode": REVERTED if problems else DONE}

    def run(self, name, command, env, instance, node, timeout):
        """Run ``command`` once, as a running instance would; by default the first that is published."""
        environment, app = self._definitions(name, env)
        arguments.words(command)
        timeout = arguments.seconds("timeout", timeout)
        instance = None if instance is None else names.instance(instance)
        node = arguments.text("node", node)
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            where, which = _instance(status.of_app(backend, environment, app), instance, node)
            job = (app.name, command, which, timeout)
            reply = fleet.run("app.command", [where], *job, deadline=timeout + TALK_DEADLINE)[where]
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
    """Return the node and the id of the instance that was asked for, published ones first."""
    rows = sorted((r for r in state["instances"] if r["state"] != "lost"), key=lambda r: r["state"] in UNPUBLISHED)
    fitting = [r for r in rows if instance in (None, r["id"]) and node in (None, r["node"])]
    if not fitting or (instance is None and fitting[0]["state"] in UNPUBLISHED):
        there = ", ".join(f"{r['id']} on {r['node']} ({r['state']})" for r in rows)
        asked = " ".join(filter(None, [instance, node and f"on {node}"])) or "that is published"
        raise Refused(f"no instance of {state['app']} {asked}. There are: {there or 'none'}; say instance= and node=")
    return fitting[0]["node"], fitting[0]["id"]
