"""Every backend that stands behind the port, each as a small world that a test can disturb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.decision.policy import DEFAULT
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.faults import CacheCorrected
from ringfence.hypervisor.model.host import ModelHost
from ringfence.service.wiring import model_host
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import DomainId, GuestFrame


@dataclass(frozen=True, slots=True)
class World:
    """A host with two guests: ``pv`` has a handler, ``hvm`` enabled MCA. ``settle`` lets what was begun end."""

    host: ModelHost
    pv: DomainId
    hvm: DomainId

    def settle(self, ms: int = 60_000) -> None:
        """Let time pass."""
        self.host.advance(ms)

    def corrected(self, page: int = 3) -> None:
        """A corrected error in a page of ``hvm``."""
        address = self.host.address(self.hvm, GuestFrame(page))
        self.host.inject(CacheCorrected(cpu=self.host.cpu_of(self.hvm), addr=address))
        self.settle(100)

    def consumed(self, page: int = 5) -> None:
        """``pv`` consumes an uncorrected error in a page of its own."""
        assert self.host.consume(self.pv, GuestFrame(page)) is not None
        self.settle(10)


def _model(personality: str) -> World:
    host = model_host(DEFAULT, seed=7, personality=personality)
    pv = host.create(
        DomainSpec(name="pv", kind=DomainKind.PV, memory_pages=4096, handler=McaHandler.TRAP, behaviour="heals")
    )
    hvm = host.create(DomainSpec(name="hvm", kind=DomainKind.HVM, memory_pages=4096, mca_enabled=True))
    host.set_dom0_handler(True)
    host.advance(100)
    return World(host, pv, hvm)


BACKENDS: dict[str, Callable[[], World]] = {
    "model concept": lambda: _model("concept"),
    "model xen-4.17": lambda: _model("xen-4.17"),
    "model xen-4.20": lambda: _model("xen-4.20"),
}
"""By name. Real hypervisors join this table with their labs."""
