"""The protocol of a service discovery backend, and the plain data that it takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Protocol, TypeVar

from ..core import addresses
from ..core.model import Probe

if TYPE_CHECKING:
    from .wording import Wording

# How long Consul's servers may take to elect a leader, in seconds: up to 13.5, measured on 1.8.7.
ELECTION = 15.0
# The time between two tries during an election, in seconds.
PAUSE = 0.2
# The name of a check, its interval and its timeout in seconds. The times are None if the catalog does not have them.
CheckFacts = tuple[str, Optional[float], Optional[float]]


@dataclass(frozen=True)
class Service:
    """A service as it is registered with a node's own agent.

    :param checks: the checks that discovery runs for as long as the service is registered.
    :param expires: seconds after which it leaves discovery by itself. None means that it stays.
    :param weight: its part of the requests, relative to other services, 1 to 65535. None means the backend's default.
    """

    id: str
    name: str
    address: str
    port: int | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    checks: tuple[Probe, ...] = ()
    expires: float | None = None
    weight: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """A service as the catalog has it.

    :param status: passing, warning or critical: the worst of its checks.
    :param output: the output of a check that has this status. It is empty while all checks pass.
    :param alive: whether the agent of its node answers.
    :param checks: the facts on each of its own checks, see :func:`registration.check_facts`.
    """

    id: str
    name: str
    node: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    status: str = "passing"
    weight: int = 1
    output: str = ""
    alive: bool = True
    checks: tuple[CheckFacts, ...] = ()

    @property
    def minion(self) -> str:
        """The Salt minion that published it, or the catalog's node name if saltdeploy did not."""
        return self.meta.get("minion", self.node)

    @property
    def host(self) -> str:
        """The address in the form that a URL needs."""
        return addresses.host(self.address)

    def belongs_to(self, environment: str) -> bool:
        """Return whether clients in ``environment``, a name, are meant to use it. Another environment may have it."""
        return self.meta.get("environment", environment) == environment


Client = TypeVar("Client", bound="Backend")


class Backend(Protocol):
    """A service discovery, with a key-value store and locks.

    Each method raises DiscoveryUnavailable if the backend does not answer, and has a deadline of its own. The values of
    keys are plain data, as JSON has it.

    ``wording`` has its names and commands, for messages.
    """

    wording: Wording

    def __enter__(self: Client) -> Client:
        """Return the backend itself, whose connections are closed at the end."""

    def __exit__(self, *exc: object) -> None:
        """Close the connections."""

    # -- the node's own services -----------------------------------------------------------------

    def publish(self, service: Service, proved: bool = True) -> None:
        """Register ``service`` at this node.

        :param proved: whether it was tested, and so enters as passing. Otherwise clients find it after its first
            results.
        """

    def withdraw(self, service_id: str) -> None:
        """Deregister ``service_id`` at this node. An unknown id is no error."""

    def registered(self) -> dict[str, Endpoint]:
        """Return the services of this node by id."""

    def check_counts(self) -> dict[str, int]:
        """Return how many checks each service of this node has, by id. A service without checks may be missing."""

    def unmeasured(self, ids: Iterable[str]) -> list[str]:
        """Return those of ``ids`` for which a check has not run since their registration."""

    def results(self, ident: str) -> dict[str, tuple[str, str]]:
        """Return the results of the checks of the service ``ident`` of this node: name -> status and output.

        The output is empty until a check has run.
        """

    def failing(self) -> list[str]:
        """Return the ids of the services of this node that clients do not find."""

    # -- the catalog -------------------------------------------------------------------------------

    def instances(self, name: str, passing: bool = False) -> list[Endpoint]:
        """Return the entries of service ``name``, read consistently, in a stable order."""

    def wait(
        self, name: str, until: Callable[[list[Endpoint]], object], deadline: float, passing: bool = False
    ) -> bool:
        """Block until ``until(entries)`` is true. Return whether it is.

        :param deadline: the :func:`time.monotonic` time at which to give up.
        """

    def services(self) -> dict[str, tuple[str, ...]]:
        """Return the names of all services, each with the sorted tags of its instances."""

    def granted(self) -> set[str] | None:
        """Return the services that nodes have rights to register, or None if discovery does not tell."""

    def replaced(self) -> set[str]:
        """Return the names of the nodes whose entries belong to an earlier agent of the same name."""

    def leader(self) -> str:
        """Return the address of the leader.

        :raises DiscoveryUnavailable: there is none.
        """

    # -- keys --------------------------------------------------------------------------------------

    def read(self, key: str) -> tuple[Any, int, str | None]:
        """Return value, index and lock holder of ``key``. The index is 0 if there is no such key."""

    def read_all(self, prefix: str) -> dict[str, Any]:
        """Return ``{key: value}`` of all keys under ``prefix``."""

    def entries(self, prefix: str) -> list[tuple[str, Any]]:
        """Return key and value of all keys under ``prefix``, in the order of their creation."""

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under ``prefix``."""

    def write(
        self,
        entries: Mapping[str, Any],
        lock_key: str | None = None,
        session: str | None = None,
        delete: Iterable[str] = (),
    ) -> bool:
        """Write ``entries`` and remove the keys ``delete``. Return False if ``session`` does not hold ``lock_key``."""

    def replace(self, key: str, value: Any, index: int) -> bool:
        """Write ``key`` if nobody has changed it since ``index``. Return whether it was written."""

    # -- locks -------------------------------------------------------------------------------------

    def create_session(self, name: str, ttl: float) -> str:
        """Create a session that lives ``ttl`` seconds unless it is renewed. Return its id."""

    def renew_session(self, session: str) -> bool:
        """Renew ``session``. Return False if it has ended."""

    def destroy_session(self, session: str) -> None:
        """End ``session``. It holds no lock after that."""

    def acquire(self, key: str, session: str, value: Any, index: int) -> bool:
        """Lock ``key`` for ``session`` if nobody has changed it since ``index``. Return whether it is locked."""

    def release(self, key: str, session: str) -> object:
        """Unlock ``key``."""
