"""The parts of the classes of higher rooms that ``core`` reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from .model import App, Instance


class Desired(Protocol):
    """The state that a deployment is to reach: see planning.model.Desired."""

    @property
    def app(self) -> App: ...
    @property
    def version(self) -> str: ...
    @property
    def nodes(self) -> Sequence[str]: ...
    @property
    def publish(self) -> bool: ...


class Observed(Protocol):
    """The state that was observed, a dataclass: see planning.model.Observed."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def instances(self) -> Sequence[Instance]: ...
    @property
    def warm(self) -> frozenset[tuple[str, str]]: ...


class Wave(Protocol):
    """Nodes that are handled together: see planning.model.Wave."""

    @property
    def start(self) -> Mapping[str, int]: ...
    @property
    def retire(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def adopt(self) -> Mapping[str, Sequence[Instance]]: ...
    @property
    def replace(self) -> Mapping[str, Sequence[str]]: ...


class Plan(Protocol):
    """The steps of a deployment: see planning.model.Plan."""

    @property
    def install(self) -> Sequence[str]: ...
    @property
    def waves(self) -> Sequence[Wave]: ...
    @property
    def publish(self) -> bool: ...


class Identity(Protocol):
    """The id of a deployment, and its owner: see rollout.context.Identity."""

    @property
    def id(self) -> str: ...
    @property
    def owner(self) -> str: ...


class Step(Protocol):
    """A phase that ended on a node, or everywhere if there is no node: see journal.Step."""

    @property
    def phase(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def ok(self) -> bool: ...


class Endpoint(Protocol):
    """A service as the catalog of the service discovery has it: see discovery.Endpoint."""

    @property
    def id(self) -> str: ...
    @property
    def minion(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def meta(self) -> Mapping[str, str]: ...
