"""
Deployments on the terminal
===========================

This outputter shows a line for each step as it happens, and a verdict at the end. ``--out=json`` gives the data.
"""

import datetime
import json
import re
import textwrap

import salt.utils.color

WIDTH = 8
# Control characters except line break and tab, and characters that turn the direction of text. The output of an app or
# an operator's reason must not act on a terminal. (The package may be missing where a job is looked up.)
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def output(data, **kwargs):
    """
    Return ``data`` of the ``deploy`` runner, or an event of a run, as text.
    """
    colors = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))
    data = _harmless(data)
    if isinstance(data, dict) and set(data) == {"suffix", "event"}:
        return _event(data["event"].get("message", {}), colors)
    if not isinstance(data, dict):
        return str(data)
    for key, view in VIEWS.items():
        if key in data:
            return view(data, colors)
    return str(data)


def _harmless(data):
    """Return ``data`` with all characters escaped that could act on a terminal."""
    if isinstance(data, dict):
        return {_harmless(key): _harmless(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_harmless(value) for value in data]
    if isinstance(data, str):
        return HARMFUL.sub(lambda match: match[0].encode("unicode_escape").decode(), data)
    return data


def _event(event, colors):
    if "of" in event:
        lines = _event({key: value for key, value in event.items() if key != "of"}, colors).splitlines()
        return "\n".join(f"{_paint(event['of'], 'CYAN', colors)} {line}" for line in lines)
    if "begin" in event:
        nodes = ", ".join(event["nodes"])
        return _paint(f"{event['begin']:<{WIDTH}} {nodes} …", "DARK_GRAY", colors)
    if "step" in event:
        return _step(event["step"], colors)
    return f"{'':<{WIDTH}} {event.get('say', '')}"


def _step(step, colors):
    phase = _paint(f"{step['phase']:<{WIDTH}}", "GREEN" if step["ok"] else "RED", colors)
    first, *rest = step["what"].splitlines() or [""]
    node = f"{step['node']}: " if step["node"] else ""
    lines = [f"{phase} {node}{first}  {_paint(_seconds(step['seconds']), 'DARK_GRAY', colors)}"]
    return "\n".join(lines + [f"{'':<{WIDTH}} {line}" for line in rest])


def _verdict(data, colors):
    color = {0: "GREEN", 3: "YELLOW"}.get(data["retcode"], "RED")
    took = f"  ({_seconds(data['seconds'])})" if "seconds" in data else ""
    return _paint(data["verdict"], color, colors) + took


def _output(data, colors):
    return "\n".join([*data["output"].splitlines(), _verdict(data, colors)])


def _logs(data, colors):
    blocks = [
        "\n".join([_paint(f"{node}: {instance}", "GREEN", colors), *(f"  {line}" for line in text.splitlines())])
        for node, instances in sorted(data["logs"].items())
        for instance, text in sorted(instances.items())
    ]
    blocks += [_paint(f"{node}: {problem}", "RED", colors) for node, problem in sorted(data["problems"].items())]
    return "\n\n".join(blocks)


def _runs(data, colors):
    rows = [
        (run["app"], OUTCOMES.get(run.get("outcome"), "refused"), _seconds(run["seconds"]) if "seconds" in run else "")
        for run in data["runs"]
    ]
    verdicts = [_verdict(run, colors) for run in data["runs"] if run["retcode"] or run.get("outcome") == "paused"]
    return "\n".join([*_table(("app", "outcome", "took"), rows), *verdicts, _verdict(data, colors)])


def _plans(data, colors):
    return "\n\n".join(_plan(plan, colors) for plan in data["plans"])


def _plan(data, _colors):
    head = " ".join(_release(data[k]) for k in ("app", "version") if data.get(k))
    return "\n".join([f"{head} in {data['environment']}, the plan:".lstrip(), *(f"  {line}" for line in data["plan"])])


def _zones(data, _colors):
    zones = [(f"zone {z['zone']}" if z["zone"] else "no zone", ", ".join(z["nodes"])) for z in data["zones"]]
    lines = [f"  {name}: {nodes}" for name, nodes in zones]
    return "\n".join([f"{data['environment']} can be rebooted in this order:", *(lines or ["  no machine"])])


def _status(data, colors):
    blocks = [_app(app, data["environment"], colors) for app in data["apps"]]
    return "\n\n".join(blocks) or f"{data['environment']} has no apps"


def _app(app, environment, colors):
    name = app["app"]
    if app["deployment"]:
        deployed = f"deployed {_when(app['time'])} ({app['deployment']})"
        head = f"{name} {_release(app['version'])} in {environment}, {deployed}"
        if not any(i["state"] == "published" for i in app["instances"]):
            head = f"{head}: none of it is published"
    elif app["defined"]:
        head = f"{name} is not deployed in {environment}: salt-run deploy.app {name} env={environment}"
    else:
        head = f"{name} in {environment}"
    found = [(i, [i["state"], *_notes(i)]) for i in app["instances"]] + [(i, i["notes"]) for i in app["strangers"]]
    rows = [(i["node"], _release(i["version"]), i["address"], ", ".join(state), _health(i)) for i, state in found]
    lines = [head, *_table(("node", "release", "address", "state", "health"), rows)]
    share = app["share"]
    gets = "" if share is None else f"{_release(app['version'])} gets {share:.1%} of the traffic, by weights"
    said = (app["drift"], app["paused"], app["frozen"], gets, app["warm"], app["lock"], *app["warnings"])
    return "\n".join([*lines, *(_paint(sentence, "YELLOW", colors) for sentence in said if sentence)])


def _notes(row):
    outdated, restarts = row.get("outdated"), row.get("restarts")
    notes = [f"{', '.join(outdated)} not as defined"] if outdated else []
    if restarts:
        count, reason = restarts
        notes.append(f"restarted {count} time{'s' * (count != 1)} in the last hour ({reason})")
    return [*notes, *row["notes"]]


def _release(version):
    """Return a release for people: ``1.4.2 (settings 7)`` for ``1.4.2@7``."""
    release, _, number = str(version).partition("@")
    return f"{release} (settings {number})" if number else release


def _health(row):
    return ": ".join(filter(None, [row["health"], row.get("output")]))


def _history(data, colors):
    unused = [_paint(warning, "YELLOW", colors) for warning in data["warnings"]]
    if not data["history"]:
        return "\n".join([f"{data['app']} has no history in {data['environment']}", *unused])
    rows = [
        (
            _when(h["began"]),
            h.get("verb", "deploy"),
            _release(h["version"]),
            OUTCOMES.get(h.get("outcome", CODES.get(h["retcode"])), ""),
            _seconds(h["seconds"]),
            h["owner"],
            h["reason"],
        )
        for h in data["history"]
    ]
    lines = _table(("when", "what", "release", "outcome", "took", "by", "reason"), rows)
    why = [f"{_when(h['began'])}  {textwrap.shorten(h['why'], 200)}" for h in data["history"] if h["why"]]
    red = [_paint(w, "RED", colors) for w in why]
    return "\n".join([f"{data['app']} in {data['environment']}", *lines, *red, *unused])


def _environments(data, colors):
    rows = [
        (
            e["environment"],
            e["based_on"] or "",
            "" if e["scale"] in (None, 1) else e["scale"],
            len(e["nodes"]),
            ", ".join(e["apps"]),
            len(e["mistakes"]) or "",
        )
        for e in data["environments"]
    ]
    lines = _table(("environment", "based on", "scale", "nodes", "apps", "mistakes"), rows)
    wrong = [line for e in data["environments"] for line in e["mistakes"]]
    wrong += [f"left out: {file}: {why}" for file, why in sorted(data["left_out"].items())]
    return "\n".join([*lines, *(_paint(line, "YELLOW", colors) for line in dict.fromkeys(wrong))])


def _environment(data, colors):
    apps = [
        (
            a["app"],
            _release(a["version"]),
            f"{a['healthy']} of {'?' if a['desired'] is None else a['desired']}",
            a["published"],
            "yes" if a["lock"] else "",
        )
        for a in data["apps"]
    ]
    nodes = [
        (
            n["node"],
            "yes" if n["answers"] else "NO",
            "" if n["free"] is None else f"{_size(n['free'])} of {_size(n['size'])}",
        )
        for n in data["nodes"]
    ]
    lines = [*_table(("app", "release", "healthy", "published", "locked"), apps), ""]
    lines += _table(("node", "answers", "free"), nodes)
    named = [(a["app"], a) for a in data["apps"]] + [(n["node"], n) for n in data["nodes"]]
    wrong = [f"{name}: {problem}" for name, row in named for problem in row["problems"]]
    wrong += [data["lock"]] if data["lock"] else []
    verdict = f"{data['environment']} is {'' if data['as_defined'] else 'NOT '}as defined"
    color = "GREEN" if data["as_defined"] else "RED"
    return "\n".join([*lines, "", *(_paint(w, "YELLOW", colors) for w in wrong), _paint(verdict, color, colors)])


def _size(size):
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _differences(data, colors):
    first, second = data["compared"]
    rows = [
        (d["key"], *("" if d[side] is None else d[side] for side in ("first", "second"))) for d in data["differences"]
    ]
    silent = [_paint(f"{node}: {why}", "YELLOW", colors) for node, why in sorted(data["silent"].items())]
    unlike = f"differ in {len(rows)} thing{'s' * (len(rows) != 1)}" if rows else "are alike"
    verdict = f"{first} and {second} {unlike}{', as far as nodes answer' if silent else ''}"
    color = "GREEN" if not rows and not silent else "RED"
    return "\n".join([*_table(("key", first, second), rows), *silent, _paint(verdict, color, colors)])


def _inventory(data, _colors):
    return json.dumps(data["inventory"], indent=2)


def _values(data, colors):
    based = f", based on {' and '.join(data['chain'][1:])}" if data["chain"][1:] else ""
    rows = [(v["key"], v["value"], v["origin"]) for v in data["values"]]
    return "\n".join([f"{data['environment']}{based}", *_table(("key", "value", "from"), rows)])


def _findings(data, colors):
    lines = []
    for finding in data["findings"]:
        place = ":".join(str(part) for part in (finding["file"], finding["line"]) if part)
        lines.append(": ".join(part for part in (place, finding["key"], finding["text"]) if part))
    count = len(lines)
    verdict = f"{count or 'no'} mistake{'s' * (count != 1)} in {', '.join(data['roots'])}"
    return "\n".join([*lines, _paint(verdict, "RED" if count else "GREEN", colors)])


def _table(head, rows):
    if not rows:
        return []
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    return ["  " + "  ".join(f"{c!s:<{w}}" for c, w in zip(row, widths)).rstrip() for row in (head, *rows)]


def _when(moment):
    return datetime.datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S")


def _seconds(value):
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"


def _paint(text, color, colors):
    return f"{colors[color]}{text}{colors['ENDC']}" if colors.get(color) else text


# The outcome of a run whose entry does not have it, by its exit code.
CODES = {0: "done", 1: "reverted", 2: "not_reverted"}
# The outcomes of runs, in the table of the history.
OUTCOMES = {
    "done": "done",
    "paused": "paused",
    "incomplete": "INCOMPLETE",
    "frozen": "FROZEN",
    "reverted": "failed, reverted",
    "not_reverted": "NOT REVERTED",
    "untrue": "DIFFERS",
    "not_begun": "not begun",
    "taken_back": "taken back",
}
# The first of these keys that a result has decides its view.
VIEWS = {
    "environments": _environments,
    "inventory": _inventory,
    "compared": _differences,
    "as_defined": _environment,
    "values": _values,
    "findings": _findings,
    "runs": _runs,
    "plans": _plans,
    "zones": _zones,
    "apps": _status,
    "history": _history,
    "logs": _logs,
    "output": _output,
    "verdict": _verdict,
    "plan": _plan,
}
