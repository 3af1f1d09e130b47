"""In what a definition differs from what is deployed."""

from dataclasses import replace

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.model import App, Registration, Source
from saltdeploy.discovery import Endpoint
from saltdeploy.master import status


@pytest.mark.parametrize(
    "version, instances, published, told",
    [
        ("1.0", 3, 3, ""),
        ("", 3, 3, ""),
        ("1.1", 3, 3, "release 1.1, and 1.0 is deployed"),
        ("1.0", 1, 3, "1 instance, and 3 published"),
        ("1.1", 3, 0, "release 1.1, and 1.0 is deployed; 3 instances, and 0 published"),
    ],
)
def test_drift(version, instances, published, told):
    app = App("shop", Source("pip", "shop"), "run", version=version, instances=instances)
    found = status._drift(app, Environment("e", {}, {"shop": app}), {"version": "1.0"}, published)
    assert found == (f"the definition differs: it says {told}" if told else "")


def test_other_settings_are_no_other_release():
    app = App("shop", Source("pip", "shop"), "run", version="1.0", instances=3)
    environment = Environment("e", {}, {"shop": app})
    assert status._drift(app, environment, {"version": "1.0@7"}, 3) == ""
    assert status._drift(app, environment, {"version": "1.1@7"}, 3).endswith(
        "release 1.0, and 1.1 (settings 7) is deployed"
    )


def test_another_app_that_it_cannot_be_beside_is_named():
    app = App("shop", Source("pip", "shop"), "run", version="1.0", instances=2)
    environment = Environment("e", SITE, {"shop": app}, clashing={"shop": "80 is the port of till, too."})
    found = status.of_app(Discovery({}), environment, app)
    assert found["warnings"] == ["80 is the port of till, too."] and found["desired"] == 2


SITE = {"web1": Node("web1", "10.0.0.1"), "web2": Node("web2", "10.0.0.2")}
RECORD = {"version": "1.0", "deployment": "d", "time": 0, "nodes": {"web1": ["shop_1.0_80"], "web2": ["shop_1.0_80"]}}


class Discovery:
    """Has a record, and services: name -> ids by minion."""

    def __init__(self, services, record=RECORD, name="shop"):
        self.found, self.record, self.name = services, record, name

    def read(self, key):
        return (self.record if key == f"deploy/e/{self.name}/current" else None), 1, None

    def keys(self, prefix):
        return [f"{prefix}{self.name}/current", f"{prefix}{self.name}/history/d"]

    def services(self):
        return {name: ("e", "1.0") if name != "consul" else () for name in self.found}

    def instances(self, name):
        return [
            Endpoint(
                i,
                name,
                f"host-{m}",
                "",
                0,
                meta={"minion": m, "environment": "e", "app": i.split("_")[0]},
                weight=25600,
            )
            for m, i in self.found.get(name, ())
        ]


def states(discovery, nodes=SITE, **options):
    app = App("shop", Source("pip", "shop"), "run", version="1.0", instances=2)
    found = status.of_app(discovery, Environment("e", nodes, {"shop": app}), app, **options)
    return found, [(row["node"], row["state"]) for row in found["instances"]]


@pytest.mark.parametrize(
    "name, found, lacks",
    [
        ("", [], False),
        ("front", [("web1", "shop_1.0_80_named")], False),
        ("front", [], True),
        ("front", [("web2", "shop_1.0_80_named")], True),
        ("front", [("web1", "cart_1.0_80_named")], True),
    ],
)
def test_an_instance_that_lacks_its_second_name_is_named(name, found, lacks):
    app = App("shop", Source("pip", "shop"), "run", version="1.0", instances=1, service=Registration(name=name))
    services = Discovery({"shop": [("web1", "shop_1.0_80")], "front": found})
    rows = status.of_app(services, Environment("e", SITE, {"shop": app}), app)["instances"]
    [differs] = [row["outdated"] for row in rows if row["node"] == "web1"]
    assert ("name" in differs) == lacks


def test_what_was_withdrawn_by_hand_runs_and_is_not_lost():
    services = {"shop": [("web1", "shop_1.0_80")], "shop-candidate": [("web2", "shop_1.0_80_candidate")]}
    assert states(Discovery(services))[1] == [("web1", "published"), ("web2", "withdrawn")]
    assert states(Discovery({"shop": services["shop"]}))[1] == [("web1", "published"), ("web2", "lost")]


def test_what_runs_on_a_node_that_was_removed_is_shown_once():
    services = {"shop": [("web1", "shop_1.0_80"), ("web2", "shop_1.0_80")]}
    found, rows = states(Discovery(services), {"web1": SITE["web1"]})
    assert rows == [("web1", "published")]
    [row] = found["strangers"]
    assert (row["node"], row["state"], row["notes"]) == ("web2", "outside", ["published, on no node of e"])


def test_what_else_has_the_name_is_shown():
    found, rows = states(Discovery({"shop": [("web1", "shop_1.0_80"), ("web9", "shop_0.9_80"), ("web1", "legacy")]}))
    assert ("web1", "published") in rows and len(rows) == 2
    assert [(row["id"], row["state"], row["notes"]) for row in found["strangers"]] == [
        ("shop_0.9_80", "outside", ["published, on no node of e"]),
        ("legacy", "foreign", ["not registered by saltdeploy"]),
    ]
    assert "1 published" in found["drift"]


def test_what_its_agent_does_not_have_is_not_plainly_passing():
    services = {"shop": [("web1", "shop_1.0_80"), ("web2", "shop_1.0_80")]}
    found, _ = states(Discovery(services), replaced={"host-web2"})
    assert [row["health"] for row in found["instances"]] == ["passing", "passing, but its agent does not have it"]


def test_apps_that_run_and_that_nobody_defines():
    services = {"blog": [("web1", "blog_1.0_81")], "consul": [], "shop": [("web1", "shop_1.0_80")]}
    environment = Environment("e", SITE, {"shop": object()})
    assert status.undefined(Discovery(services, name="old"), environment) == ["blog", "old"]
    assert status.undefined(Discovery(services), environment) == ["blog"]
    found = status.of_app(Discovery({}, name="old"), environment, App("old", Source("", ""), ""))
    assert found["drift"].startswith("old runs, and is not in e: add it") and not found["defined"]


def test_a_service_whose_name_is_no_app_s_is_not_asked_for():
    asked = []

    class Strangers(Discovery):
        def services(self):
            return dict.fromkeys(("../../catalog/datacenters", "..", "A b", "blog-candidate"), ("e",))

        def instances(self, name, passing=False):
            asked.append(name)
            return []

    assert status.undefined(Strangers({}, name="shop"), Environment("e", SITE, {"shop": object()})) == []
    assert asked == ["blog-candidate"]


def test_a_check_that_does_not_pass_is_told_by_its_output():
    output = "HTTP GET http://10.0.0.1:80/health: 503 Service Unavailable Output: no database,\n  tried hunter2-secret"
    sick = Endpoint(
        "shop_1.0_80", "shop", "web1", "10.0.0.1", 80, meta={"minion": "web1"}, status="critical", output=output
    )
    app = App("shop", Source("pip", "shop"), "run", env={"PASSWORD": "hunter2-secret"})
    row = status._row(app, sick, status.State.PUBLISHED, ())
    assert row["health"] == "critical"
    assert row["output"] == "GET http://10.0.0.1:80/health: 503 Service Unavailable Output: no database, tried ***"
    assert status._row(app, replace(sick, output="x" * 999), status.State.PUBLISHED, ())["output"] == "x" * 200
