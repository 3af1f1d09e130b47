"""Port ranges, and the nodes that may run an app."""

import pytest
from saltdeploy import definition
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.model import PortRange

from tests.support.definitions import pillar, shop


def test_port_range_counts_both_ends():
    ports = PortRange(20, 22)
    assert (list(ports), len(ports), str(ports), str(PortRange(80, 80))) == ([20, 21, 22], 3, "20-22", "80")


@pytest.mark.parametrize(
    "app_roles, eligible",
    [((), ["plain", "app"]), (("db",), ["db", "both"]), (("db", "web"), ["web", "db", "both"])],
)
def test_eligible_nodes_have_a_role_of_the_app(app_roles, eligible):
    roles = {"plain": (), "web": ("web",), "db": ("db",), "both": ("x", "db"), "app": ("app",)}
    environment = Environment("e", {n: Node(n, n, r) for n, r in roles.items()}, {})
    app = definition.load(pillar({"roles": list(app_roles)})).apps["shop"]
    assert environment.eligible(app) == eligible


def test_who_may_not_run_an_app_is_told_with_what_would_let_it():
    nodes = {
        "web1": Node("web1", "a", ("devpi", "db")),
        "web2": Node("web2", "b", ("devpi", "app")),
        "web3": Node("web3", "c"),
    }
    environment, app = Environment("e", nodes, {}), shop()
    assert environment.eligible(app) == ["web2", "web3"]
    assert environment.barred(app) == {
        "web1": "web1 has the roles devpi, db and not app: to run shop there, add app to its roles"
    }
    special = shop({"roles": ["gpu", "db"]})
    assert environment.barred(special)["web3"] == (
        "web3 has no roles and not gpu or db: to run shop there, add gpu to its roles"
    )
