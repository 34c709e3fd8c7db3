"""What XenHost reaches Xen by, as parts: the real ones of this machine, or others that answer with the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ringfence.hypervisor.mca_abi import VIRQ_MCA
from ringfence.hypervisor.xen import xenstore
from ringfence.hypervisor.xen.event_channel import EventChannel, Silence, VirqTakenError
from ringfence.hypervisor.xen.guest_store import GuestStore
from ringfence.hypervisor.xen.numbers import Mapped, Numbers
from ringfence.hypervisor.xen.privcmd import Gate, Privcmd
from ringfence.hypervisor.xen.toolstack import GUESTS, Toolstack
from ringfence.world.domain import Domain
from ringfence.world.identities import DomainId, StepId
from ringfence.world.situation import Destination
from ringfence.world.steps import Result


class Channel(Protocol):
    """How Xen says that there is telemetry (``event_channel.EventChannel``)."""

    file: int

    def take(self) -> bool:
        """Whether it has fired since the last look."""
        ...


class Store(Protocol):
    """The xenstore, read only (``xenstore.Store``)."""

    def read(self, path: str) -> str | None:
        """The value at a path."""
        ...

    def directory(self, path: str) -> tuple[str, ...]:
        """The names below a path."""
        ...


class Operations(Protocol):
    """What lasts: a process of its own for each order, the end of which is seen later (``toolstack.Toolstack``)."""

    def begin(self, order: StepId, words: Sequence[str]) -> Result:
        """Begin ``xl WORDS``."""
        ...

    def save(self, order: StepId, domain: DomainId, file: Path) -> Result:
        """Save a domain into a file that is there if the whole of it is."""
        ...

    def restore(self, order: StepId, file: Path, instead_of: DomainId | None) -> Result:
        """Restore from a file, in the place of a domain that is destroyed before."""
        ...

    def restart(self, order: StepId, domain: Domain) -> Result:
        """Destroy a domain and create it anew."""
        ...

    def cpu(self, order: StepId, cpu: int, *, online: bool) -> Result:
        """Take a CPU out of use, or into use."""
        ...

    def ended(self) -> tuple[tuple[StepId, Result], ...]:
        """The operations that have ended since the last look."""
        ...

    def watch(self, order: StepId) -> None:
        """The end of an operation of an earlier life shall be told, too."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether the end of an operation is waited for."""
        ...

    def probe(self, order: StepId) -> Result:
        """What became of an operation."""
        ...


class Elsewhere(Protocol):
    """The host to which guests can be moved (``migration.OtherHost``)."""

    def destination(self) -> Destination:
        """What is known of it now. Does not wait."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """Options of ``xl migrate`` for the way there."""
        ...

    @property
    def pages_per_s(self) -> int:
        """What the link carries."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All of them. ``elsewhere`` is None where no other host is configured, ``guests`` where no agents are heard, and
    ``numbers`` where nobody knows what PV guests call their frames.
    """

    gate: Gate
    channel: Channel
    store: Store
    operations: Operations
    elsewhere: Elsewhere | None = None
    guests: GuestStore | None = None
    numbers: Numbers | None = None


OPERATIONS: Final = "operations"
"""Where below the state directory the ends of operations are kept."""


def of_this_machine(state_dir: Path, elsewhere: Elsewhere | None = None, configurations: Path = GUESTS) -> Parts:
    """The real ones; ``configurations`` is where guests' configurations lie. Raises HypervisorError if this is no Dom0.

    Where the kernel's own driver has VIRQ_MCA, the channel is ``Silence``: nothing is fetched by hypercall then.
    """
    gate = Privcmd()
    channel: Channel
    try:
        channel = EventChannel(VIRQ_MCA)
    except VirqTakenError:
        channel = Silence()
    return Parts(
        gate=gate,
        channel=channel,
        store=xenstore.Store(),
        operations=Toolstack(state_dir / OPERATIONS, configurations=configurations),
        elsewhere=elsewhere,
        guests=GuestStore(),
        numbers=Numbers(gate, Mapped()),
    )
