"""Puts the parts together: the only place that knows which hypervisor is behind the port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ringfence.decision.policy import Policy
from ringfence.hypervisor.boot import Least, this_boot
from ringfence.hypervisor.model.clock import Clock
from ringfence.hypervisor.model.host import HostSettings, ModelHost
from ringfence.hypervisor.model.machine import Settings
from ringfence.hypervisor.model.observer import Observer, nobody
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.service.configuration.kvm import Kvm
from ringfence.service.configuration.xen import Xen
from ringfence.service.intake import Followed
from ringfence.service.real_world import RealWorld
from ringfence.service.sources.guest_failures import GuestFailuresSource
from ringfence.service.treatment import Treatment

if TYPE_CHECKING:
    from ringfence.hypervisor.kvm.parts import Parts

CASES_A_BOOT: Final = 1 << 20
"""Case numbers that each boot has for itself, so that none is used twice: a seat has no disk to remember them by."""


def seat(policy: Policy, boot: int) -> Treatment:
    """The hypervisor's seat for one boot of a host that follows the concept."""
    return Treatment(policy, first_case=boot * CASES_A_BOOT + 1)


def model_host(  # noqa: PLR0913 (one argument a choice)
    policy: Policy,
    *,
    seed: int,
    platform: str = "cascade-lake",
    personality: str = "concept",
    name: str = "model",
    clock: Clock | None = None,
    observer: Observer = nobody,
) -> ModelHost:
    """A model host that follows the concept, or acts as a version of Xen does (``personality``).

    Raises KeyError for an unknown platform or personality.
    """
    settings = HostSettings(name=name, personality=personality, machine=Settings(platform=PLATFORMS[platform]))
    sits = seat(policy, 1) if personality == "concept" else None
    return ModelHost(settings, seed=seed, seat=sits, clock=clock, observer=observer)


def xen_world(state_dir: Path, boot: int, wake: Callable[[], None], wanted: Xen) -> RealWorld:
    """The Xen that this Dom0 runs on; ``boot`` is the next number that no boot in the journal has.

    Raises HypervisorError if it cannot be reached.
    """
    from ringfence.hypervisor.xen.host import XenHost  # noqa: PLC0415 (it is loaded where there is a Xen)
    from ringfence.hypervisor.xen.migration import OtherHost  # noqa: PLC0415
    from ringfence.hypervisor.xen.parts import of_this_machine  # noqa: PLC0415
    from ringfence.hypervisor.xen.releases import version  # noqa: PLC0415

    elsewhere = None
    if wanted.destination:
        elsewhere = OtherHost(wanted.destination, wanted.shell, wanted.migration_mib_per_s * _PAGES_PER_MIB)
        elsewhere.watch()
    parts = of_this_machine(state_dir, elsewhere, Path(wanted.configurations))
    host = XenHost(this_boot(state_dir, Least(boot=boot - 1)), state_dir, parts, version())
    return RealWorld(host, wake, elsewhere.close if elsewhere is not None else lambda: None)


_PAGES_PER_MIB: Final = 256


def kvm_parts(wanted: Kvm) -> Parts:
    """What the backend for KVM and its source of evidence share; nothing is looked at before the world is made."""
    from ringfence.hypervisor.kvm import parts  # noqa: PLC0415 (it is loaded where there is KVM)

    return parts.Parts(
        parts.Settings(
            libvirt=wanted.libvirt,
            destination=wanted.destination,
            migration_pages_per_s=wanted.migration_mib_per_s * _PAGES_PER_MIB,
            monitors=tuple(map(Path, wanted.monitors)),
            asks_monitors=wanted.monitor_commands,
            injects=wanted.vmce,
        )
    )


def kvm_world(state_dir: Path, boot: int, wake: Callable[[], None], parts: Parts) -> RealWorld:
    """The KVM of this host; ``boot`` is the next number that no boot in the journal has.

    Raises HypervisorError if the state directory cannot be written.
    """
    from ringfence.hypervisor.kvm.host import KvmHost  # noqa: PLC0415

    host = KvmHost(this_boot(state_dir, Least(boot=boot - 1)), state_dir, parts)
    return RealWorld(host, wake, host.close)


def kvm_source(parts: Parts) -> Followed:
    """What QEMU says of its guests' memory."""
    return Followed(GuestFailuresSource(parts.failures))
