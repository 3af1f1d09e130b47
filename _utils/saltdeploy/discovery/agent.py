"""A node's own services, through the HTTP API of Consul's agent. The health agent of a node with SkyDNS has it, too.

https://developer.hashicorp.com/consul/api-docs/agent
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from . import consulservices
from .backend import Endpoint, Service
from .consulhttp import Connection, Parameter
from .registration import TTL_CHECK


class Agent(Connection):
    """The agent of a node."""

    def publish(self, service: Service, proved: bool = True) -> None:
        """Register ``service`` with the agent, see backend.Backend."""
        # Otherwise a check that the registration before had, and this has not, would stay.
        options: list[Parameter] = [("replace-existing-checks", "true")]
        self.put("/v1/agent/service/register", options, consulservices.registration(service, proved))

    def withdraw(self, service_id: str) -> None:
        """Deregister ``service_id`` from the agent. An unknown id is no error: it is withdrawn."""
        response = self.call("put", f"/v1/agent/service/deregister/{service_id}")
        unknown = response.code == 404 or "Unknown service" in response.body
        if response.code != 200 and not unknown:
            raise self.failed(response, f"deregister {service_id}")

    def registered(self) -> dict[str, Endpoint]:
        """Return the agent's own services: id -> Endpoint."""
        return {i: consulservices.own(i, entry) for i, entry in self.get("/v1/agent/services").items()}

    def check_counts(self) -> dict[str, int]:
        """Return how many checks each of the agent's own services has, by id."""
        return dict(Counter(c["ServiceID"] for c in self.get("/v1/agent/checks").values() if c["ServiceID"]))

    def unmeasured(self, ids: Iterable[str]) -> list[str]:
        """Return which of the agent's own services ``ids`` pass only because they were registered so.

        An agent has no output of a check that it has not run yet. The catalog is of no use for this: it gets the output
        of a check whose status stays the same minutes later (``check_update_interval``).
        """
        checks = self.get("/v1/agent/checks").values()
        # A heartbeat needs no text.
        run = [c for c in checks if not c["CheckID"].endswith(TTL_CHECK)]
        believed = {c["ServiceID"] for c in run if c["Status"] == "passing" and not c["Output"]}
        return sorted(believed & set(ids))

    def results(self, ident: str) -> dict[str, tuple[str, str]]:
        """Return the results of the checks of the agent's own service ``ident``: name -> status and output."""
        checks = self.get("/v1/agent/checks").values()
        return {c["Name"]: (c["Status"], c["Output"]) for c in checks if c["ServiceID"] == ident}


class HealthAgent(Agent):
    """The health agent of a node with SkyDNS, see :mod:`saltdeploy.health`."""

    name = "the health agent"
    silent = slow = "see `systemctl status saltdeploy-health` there"
    # Its answer says what to do.
    refused = ""
