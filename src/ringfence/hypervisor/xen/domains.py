"""The domains of a Xen as values: kind, name, state, whom they serve, what was saved of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

from ringfence.hypervisor.xen.checkpoints import Checkpoints
from ringfence.hypervisor.xen.parts import Store
from ringfence.hypervisor.xen.serving import Servants
from ringfence.hypervisor.xen.sysctl import DomainFlag, DomainInfo, Shutdown
from ringfence.world.domain import LIVING, Domain, DomainKind, DomainState
from ringfence.world.identities import DOM0, DomainId

NAMES_KEPT: Final = 4_096
_LAPIC_ONLY: Final = 1
"""arch_config.emulation_flags of a PVH domain: XEN_X86_EMU_LAPIC alone."""


class Domains:
    """What is known of the domains of this host."""

    def __init__(self, store: Store, checkpoints: Checkpoints, now_ms: Callable[[], int]) -> None:
        self._store, self._checkpoints, self._now_ms = store, checkpoints, now_ms
        self._servants = Servants(store)
        self._names: dict[tuple[DomainId, bytes], str] = {}

    def seen(self, infos: tuple[DomainInfo, ...]) -> tuple[Domain, ...]:
        """The domains that Xen lists, and after them those that were saved and are not here."""
        here = [info.domain for info in infos]
        stores = [info.domain for info in infos if DomainFlag.XS_DOMAIN in info.flags]
        serving = self._servants.now(here, stores, self._now_ms())
        known = [self._domain(info) for info in infos]
        self._checkpoints.lives(each.uuid for each in known if each.state in LIVING)
        found = tuple(
            Domain(
                id=each.id, name=each.name, kind=each.kind, uuid=each.uuid, state=each.state, vcpus=each.vcpus,
                memory_pages=each.memory_pages, may_migrate=each.id not in serving.tied,
                checkpoint=self._checkpoints.of(each.uuid), serves=serving.serves.get(each.id, frozenset()),
            )
            for each in known
        )  # fmt: skip
        waiting = self._checkpoints.waiting(each.uuid for each in found)
        return (*found, *(each for each in waiting if each.id not in here))

    def here(self, infos: tuple[DomainInfo, ...]) -> tuple[Domain, ...]:
        """The domains that Xen lists, without whom they serve and what was saved of them: for whoever asks often."""
        return tuple(self._domain(info) for info in infos)

    def one(self, number: DomainId, infos: tuple[DomainInfo, ...]) -> Domain | None:
        """One domain, without whom it serves: what must be quick does not wait for the xenstore."""
        here = next((self._domain(info) for info in infos if info.domain == number), None)
        if here is not None:
            return here
        waiting = self._checkpoints.waiting(str(UUID(bytes=info.handle)) for info in infos)
        return next((each for each in waiting if each.id == number), None)

    def _domain(self, info: DomainInfo) -> Domain:
        return Domain(
            id=info.domain,
            name=self._name(info),
            kind=_kind(info),
            uuid=str(UUID(bytes=info.handle)),
            state=_state(info),
            vcpus=info.vcpus,
            memory_pages=info.pages,
        )

    def _name(self, info: DomainInfo) -> str:
        key = info.domain, info.handle
        if key not in self._names:
            found = self._store.read(f"/local/domain/{info.domain}/name")
            if not found:
                # Not there yet, or nobody answers: it is asked again.
                return "Domain-0" if info.domain == DOM0 else f"domain {info.domain}"
            while len(self._names) >= NAMES_KEPT:
                del self._names[next(iter(self._names))]
            self._names[key] = found
        return self._names[key]


def _kind(info: DomainInfo) -> DomainKind:
    if info.domain == DOM0:
        return DomainKind.DOM0
    if DomainFlag.HVM_GUEST not in info.flags:
        return DomainKind.PV
    return DomainKind.PVH if info.emulation == _LAPIC_ONLY else DomainKind.HVM


_ENDS: Final[dict[int, DomainState]] = {
    Shutdown.POWEROFF: DomainState.SHUT_DOWN,
    Shutdown.REBOOT: DomainState.SHUT_DOWN,
    Shutdown.SUSPEND: DomainState.PAUSED,
    Shutdown.CRASH: DomainState.CRASHED,
    Shutdown.WATCHDOG: DomainState.CRASHED,
    Shutdown.SOFT_RESET: DomainState.PAUSED,
}


def _state(info: DomainInfo) -> DomainState:
    if DomainFlag.SHUTDOWN in info.flags:
        return _ENDS.get(info.shutdown, DomainState.CRASHED)
    if DomainFlag.DYING in info.flags:
        return DomainState.DESTROYED
    return DomainState.PAUSED if DomainFlag.PAUSED in info.flags else DomainState.RUNNING
