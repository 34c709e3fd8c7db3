"""Domains of the model host: what one is created from, and what the hypervisor keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ringfence.hypervisor.model.guests import BEHAVIOURS, GuestBehaviour
from ringfence.hypervisor.model.vmce import EMPTY, VirtualBank
from ringfence.world.domain import LIVING, Checkpoint, Domain, DomainKind, DomainState, McaHandler
from ringfence.world.identities import DOM0, DomainId, GuestFrame, PhysAddr, VcpuId

FIRST_VCPU: Final = VcpuId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSpec:
    """What a guest is created from. Raises ValueError for a count below one, an unknown behaviour, or kind Dom0.

    ``behaviour`` is a key of ``guests.BEHAVIOURS``. ``whole_superpages``: its memory is backed by 2 MiB pages that the
    hypervisor cannot split. ``shadow``: HVM without hardware assisted paging. ``serves``: who needs it.
    """

    name: str
    kind: DomainKind
    memory_pages: int = 1 << 16
    vcpus: int = 1
    uuid: str = ""
    labels: frozenset[str] = frozenset()
    handler: McaHandler = McaHandler.NONE
    mca_enabled: bool = False
    behaviour: str = "heals"
    dirty_pages_per_s: int | None = None
    may_migrate: bool = True
    whole_superpages: bool = False
    shadow: bool = False
    serves: frozenset[DomainId] = frozenset()

    def __post_init__(self) -> None:
        if self.kind is DomainKind.DOM0:
            raise ValueError("there is one Dom0, and it is there already")
        if self.behaviour not in BEHAVIOURS:
            raise ValueError(f"no behaviour {self.behaviour!r}: there are {', '.join(BEHAVIOURS)}")
        if min(self.memory_pages, self.vcpus) < 1:
            raise ValueError("a guest has at least one page and one vCPU")


@dataclass(slots=True)
class Vcpu:
    """One vCPU. ``stuck_at``: the load or fetch that it has to repeat, as it ended in a machine check."""

    id: VcpuId
    bank: VirtualBank = EMPTY
    stuck_at: Access | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """An access that is to be made, or did not complete.

    ``page`` None: by another way than a page of its own; ``addr`` None: anywhere in the page. ``rounds``: how often it
    has ended in a machine check.
    """

    page: GuestFrame | None
    addr: PhysAddr | None
    instruction: bool
    rounds: int = 0


@dataclass(slots=True)
class ModelDomain:
    """A domain as the hypervisor keeps it. ``spec`` is None for Dom0.

    ``incarnation`` counts how often its memory was made anew (restart, restore): what was planned for an earlier one is
    void. ``busy``: an operation on it is running. ``told`` are the lost pages that it was told of. ``refused_calls``
    counts hypercalls that it had no right to.
    """

    id: DomainId
    name: str
    kind: DomainKind
    memory_pages: int
    vcpus: list[Vcpu]
    spec: DomainSpec | None = None
    handler: McaHandler = McaHandler.NONE
    mca_enabled: bool = False
    state: DomainState = DomainState.PAUSED
    checkpoint: Checkpoint | None = None
    incarnation: int = 0
    busy: bool = False
    told: set[GuestFrame] = field(default_factory=set)
    refused_calls: int = 0
    shown: Domain | None = field(default=None, repr=False, compare=False)
    """What ``seen`` gave last, None if it has changed since."""

    def __setattr__(self, name: str, value: object) -> None:
        """Whatever changes: what was shown of it does not hold any more."""
        object.__setattr__(self, name, value)
        object.__setattr__(self, "shown", None)

    @property
    def lives(self) -> bool:
        """Whether it has memory and vCPUs here."""
        return self.state in LIVING

    @property
    def is_dom0(self) -> bool:
        """Whether it is the control domain."""
        return self.id == DOM0

    @property
    def behaviour(self) -> GuestBehaviour:
        """How it reacts. Dom0's kernel heals."""
        return BEHAVIOURS["heals" if self.spec is None else self.spec.behaviour]

    @property
    def in_machine_check(self) -> bool:
        """Whether MCIP of one of its vCPUs is still set."""
        return any(vcpu.bank is not EMPTY and vcpu.bank.in_machine_check for vcpu in self.vcpus)

    @property
    def has_hap(self) -> bool:
        """Whether its memory is mapped by hardware assisted paging (HVM and PVH, without shadow)."""
        shadow = self.spec is not None and self.spec.shadow
        return self.kind in {DomainKind.HVM, DomainKind.PVH} and not shadow

    def begin_anew(self) -> None:
        """Its memory and its vCPUs are new."""
        self.incarnation += 1
        self.vcpus = [Vcpu(vcpu.id) for vcpu in self.vcpus]
        self.told.clear()

    def hold(self, vcpu: Vcpu, bank: VirtualBank) -> None:
        """A virtual bank of one of its vCPUs is filled, or clear again."""
        vcpu.bank = bank
        object.__setattr__(self, "shown", None)

    def seen(self) -> Domain:
        """It as the port shows it. The same value as long as nothing of it changes: it is asked for often."""
        shown = self.shown
        if shown is None:
            shown = self._show()
            object.__setattr__(self, "shown", shown)
        return shown

    def _show(self) -> Domain:
        spec = self.spec
        return Domain(
            id=self.id,
            name=self.name,
            kind=self.kind,
            uuid=spec.uuid if spec is not None else "",
            labels=spec.labels if spec is not None else frozenset(),
            state=self.state,
            handler=self.handler,
            mca_enabled=self.mca_enabled,
            in_machine_check=self.in_machine_check,
            vcpus=len(self.vcpus),
            memory_pages=self.memory_pages,
            dirty_pages_per_s=spec.dirty_pages_per_s if spec is not None else None,
            may_migrate=spec is not None and spec.may_migrate,
            checkpoint=self.checkpoint,
            incarnation=self.incarnation,
            serves=spec.serves if spec is not None else frozenset(),
        )


def of_spec(number: DomainId, spec: DomainSpec) -> ModelDomain:
    """A new guest: paused, without memory."""
    return ModelDomain(
        id=number,
        name=spec.name,
        kind=spec.kind,
        memory_pages=spec.memory_pages,
        vcpus=[Vcpu(VcpuId(each)) for each in range(spec.vcpus)],
        spec=spec,
        handler=spec.handler,
        mca_enabled=spec.mca_enabled,
    )


def dom0(memory_pages: int, vcpus: int) -> ModelDomain:
    """The control domain: paused, without memory."""
    return ModelDomain(
        id=DOM0,
        name="Domain-0",
        kind=DomainKind.DOM0,
        memory_pages=memory_pages,
        vcpus=[Vcpu(VcpuId(each)) for each in range(vcpus)],
    )
