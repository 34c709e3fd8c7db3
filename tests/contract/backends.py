"""Every backend that stands behind the port, each as a small world that a test can disturb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ringfence.decision.policy import DEFAULT
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.faults import CacheCorrected
from ringfence.hypervisor.model.host import ModelHost
from ringfence.hypervisor.port import Hypervisor
from ringfence.service.wiring import model_host
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import PAGE_SHIFT, DomainId, Frame, GuestFrame
from tests.contract.kvm_world import kvm_world
from tests.hypervisor.xen.device import xen_host


@dataclass(frozen=True, slots=True)
class World:
    """A host with two guests: ``pv`` has a handler, ``hvm`` enabled MCA. ``settle`` lets what was begun end."""

    host: ModelHost
    pv: DomainId
    hvm: DomainId

    def frame(self, domain: DomainId, page: GuestFrame) -> Frame:
        """The frame that a guest's page lies in."""
        return Frame(self.host.address(domain, page) >> PAGE_SHIFT)

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


class Place(Protocol):
    """What a test may do to a host: a ``World``, or another that is disturbed by other means."""

    @property
    def pv(self) -> DomainId:
        """A guest."""
        ...

    @property
    def hvm(self) -> DomainId:
        """Another guest."""
        ...

    def frame(self, domain: DomainId, page: GuestFrame) -> Frame:
        """The frame that a guest's page lies in."""
        ...

    def settle(self, ms: int = 60_000) -> None:
        """Let what was begun end."""
        ...

    def corrected(self, page: int = 3) -> None:
        """A corrected error in a page of ``hvm``."""
        ...

    def consumed(self, page: int = 5) -> None:
        """An uncorrected error in a page of ``pv``."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A world, and what the port shows of it: its own host, or another backend on the same machine. ``tells``: evidence
    arrives by this port, and not by the host's own sources.
    """

    host: Hypervisor
    world: Place
    tells: bool = True


def _xen(state_dir: Path) -> Seen:
    """XenHost, with the model's machine behind Xen's own hypercalls."""
    world = _model("xen-4.20")
    host, *_ = xen_host(world.host, state_dir)
    return Seen(host, world)


def _kvm(home: Path) -> Seen:
    """KvmHost, on the files of a small host and two QEMUs without libvirt."""
    world = kvm_world(home)
    return Seen(world.host, world, tells=False)


BACKENDS: dict[str, Callable[[], World]] = {
    "model concept": lambda: _model("concept"),
    "model xen-4.17": lambda: _model("xen-4.17"),
    "model xen-4.20": lambda: _model("xen-4.20"),
}
"""The model, by what it is."""


def _by_itself(name: str) -> Callable[[Path], Seen]:
    """The model by its own port."""

    def made(_: Path) -> Seen:
        world = BACKENDS[name]()
        return Seen(world.host, world)

    return made


PORTS: dict[str, Callable[[Path], Seen]] = {
    **{name: _by_itself(name) for name in BACKENDS},
    "XenHost on the model's ABI": _xen,
    "KvmHost on files and QMP": _kvm,
}
"""Everything that stands behind the port, by name, with a directory of its own."""
