"""What the hypervisor of the model does by itself: Ringfence's concept, or a release of Xen, as a table.

What is said of Xen stems from Xen's own sources, not from the concept: xen/arch/x86/cpu/mcheck (mce.c, mcaction.c,
vmce.c, mce_intel.c, mce_amd.c, mctelem.c) and xen/common/page_alloc.c of the release that is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ringfence.world.steps import HealHost, InjectVmce, IsolateFrame, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One hypervisor. Where ``treats`` is set, a seat that follows the concept decides; else Xen acts alone.

    That Xen acts alone means, in every release: no recovery on AMD, a BUG for a page that guests share, an endless wait
    for a CPU that does not come to a rendezvous, drops of telemetry that nobody is told of, left-overs of an earlier
    boot that look like polled errors of this one.

    ``scans_on_machine_check``: its #MC handler sees the banks; without, every bank looks empty to it (from 4.13 on, the
    bitmap of all banks was left empty by mistake: commit 560cf418c845, mended by 532988dccc in 4.21, 4.20.2, 4.19.4).
    ``unmaps_all_kinds``: it can take a page away from PV and shadow guests and from Dom0, too; Xen's unmmap_broken_page
    can for HAP guests alone, and leaves Dom0's mapping.
    ``notifies_domains``: XEN_MC_notifydomain works, else it answers -EINVAL.
    ``crashes_again``: offlining a broken page once more crashes its owner (offline_page).
    ``lacks``: steps for which Dom0 has no call.
    """

    name: str
    says: str
    treats: bool = False
    scans_on_machine_check: bool = True
    unmaps_all_kinds: bool = False
    notifies_domains: bool = False
    crashes_again: bool = True
    lacks: frozenset[type[Step]] = frozenset()


XEN_LACKS: Final = frozenset({IsolateFrame, InjectVmce, HealHost})
"""There is no hypercall for these, in any release."""

CONCEPT: Final = Behaviour(
    name="concept",
    says="the concept, with a seat that decides",
    treats=True,
    unmaps_all_kinds=True,
    notifies_domains=True,
    crashes_again=False,
)

BEHAVIOURS: Final[Mapping[str, Behaviour]] = MappingProxyType(
    {
        behaviour.name: behaviour
        for behaviour in (
            CONCEPT,
            Behaviour(name="xen-4.17", says="Xen 4.17, all of it", scans_on_machine_check=False, lacks=XEN_LACKS),
            Behaviour(name="xen-4.20.0", says="Xen 4.20.0 and 4.20.1", scans_on_machine_check=False, lacks=XEN_LACKS),
            Behaviour(name="xen-4.20", says="Xen 4.20.2 and later: its handler sees the banks again", lacks=XEN_LACKS),
        )
    }
)
"""All personalities, by name."""
