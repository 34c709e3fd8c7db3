"""``[kvm]``: how the guests of a host with KVM are reached, and where to they can be moved."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from ringfence.service.configuration.section import FileName, Section

MOST_MONITORS: Final = 256
"""QMP sockets: each is a connection with a thread of its own."""

Uri = Annotated[str, Meta(max_length=4096)]


class Kvm(Section, frozen=True, kw_only=True):
    """With the hypervisor KVM: libvirt, QEMU's monitors, and the host that guests can be moved to."""

    libvirt: Annotated[Uri, Meta(description="libvirt's URI on this host; empty: no libvirt, QMP sockets alone.")] = (
        "qemu:///system"
    )
    destination: Annotated[
        Uri,
        Meta(
            description="libvirt's URI of the host that guests are moved to, as this host's libvirtd reaches it (peer "
            "to peer): qemu+tls://other/system; empty: there is none."
        ),
    ] = ""
    migration_mib_per_s: Annotated[
        int, Meta(ge=1, le=1 << 20, description="What the link to it carries, MiB/s: feasibility is reckoned with it.")
    ] = 100
    monitors: Annotated[
        tuple[FileName, ...],
        Meta(
            max_length=MOST_MONITORS,
            description="QMP sockets (unix) of QEMUs that run without libvirt. Each QMP socket serves one client: give "
            "Ringfence one of its own (-qmp unix:PATH,server=on,wait=off). One whose file name has ringfence in it is "
            "found by QEMU's command line and need not stand here.",
        ),
    ] = ()
    monitor_commands: Annotated[
        bool,
        Meta(
            description="Ask QEMU's human monitor for its map of guest memory (read only). libvirt marks a domain as "
            "tainted (custom-monitor) at the first such question. Without it a page is told to be a guest's, and not "
            "which of its pages it is."
        ),
    ] = True
    vmce: Annotated[
        bool,
        Meta(
            description="Inject machine checks into guests by QEMU's human monitor, where the policy lets it: on Intel "
            "only, needs monitor-commands. QEMU tells a guest of a lost page by itself, as soon as the kernel has "
            "signalled it; this is for pages that the kernel has not given up."
        ),
    ] = False
