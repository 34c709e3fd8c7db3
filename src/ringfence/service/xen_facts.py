"""What ``ringfence doctor`` and the service know of the Xen below this Dom0, beyond what the port says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from ringfence.errors import HypervisorError
from ringfence.hypervisor.mca_abi import VIRQ_MCA
from ringfence.hypervisor.xen.event_channel import is_taken
from ringfence.hypervisor.xen.privcmd import KEXEC_OP, XEN_VERSION, Gate, Privcmd
from ringfence.hypervisor.xen.releases import version
from ringfence.hypervisor.xen.sysctl import Sysctl
from ringfence.journal import events as ev
from ringfence.record.evidence import Delivery, Format
from ringfence.service.others import Fact
from ringfence.service.sources.host_facts import HostFiles

WHAT_IS_LOST: Final = (
    "Of Xen's telemetry, /dev/mcelog passes on the registers alone: not whose page it was, not what Xen did about it, "
    "nor which CPU's guest ran. Whom an error hit is then found by asking Xen about the frame, and often not at all."
)
HOW_TO_CHANGE: Final = (
    "Boot Dom0's kernel with initcall_blacklist=xen_late_init_mcelog: the driver can neither be unloaded nor told to "
    "let go."
)

VIRQ_IS_TAKEN: Final = Fact(
    "Dom0's kernel has Xen's telemetry for itself (VIRQ_MCA, drivers/xen/mcelog.c): /dev/mcelog is read instead",
    "Xen refuses to bind VIRQ_MCA",
    f"{WHAT_IS_LOST} {HOW_TO_CHANGE}",
    clashes=True,
    tells_source=True,
)


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class XenFacts:
    """A Xen, seen from its Dom0. ``version`` as sysfs has it, ``guest_type`` what Dom0 is itself ("PV", "PVH"),
    ``vendor`` the processors' ("GenuineIntel"). What only root is told is None for others.
    """

    version: str
    guest_type: str = ""
    vendor: str = ""
    virq_is_taken: bool = False
    command_line: str | None = None
    console: str | None = None
    crash_kernel: bool | None = None
    has_shadow: bool | None = None


def xen_facts(host: HostFiles, gate: Callable[[], Gate] = Privcmd) -> XenFacts | None:
    """The Xen of this machine; None if this is no Dom0. Nothing is asked of Xen for a machine of files."""
    if not host.exists("/proc/xen/privcmd"):
        return None
    vendor = re.search(r"^vendor_id\s*:\s*(\S+)", host.text("/proc/cpuinfo") or "", re.MULTILINE)
    command_line, console, crash_kernel, shadow = _asked(gate) if host.root == Path("/") else (None,) * 4
    return XenFacts(
        version=version(host.root / "sys/hypervisor/version"),
        guest_type=(host.text("/sys/hypervisor/guest_type") or "").strip(),
        vendor=vendor[1] if vendor is not None else "",
        virq_is_taken=host.root == Path("/") and is_taken(VIRQ_MCA),
        command_line=command_line,
        console=console,
        crash_kernel=crash_kernel,
        has_shadow=shadow,
    )


_COMMANDLINE: Final = 9
"""XENVER_commandline: 1,024 characters."""
_KEXEC_STATUS: Final = 6
"""KEXEC_CMD_kexec_status, of a struct with the type alone."""
_KEXEC_TYPE_CRASH: Final = b"\x01"


def _asked(opened: Callable[[], Gate]) -> tuple[str | None, str | None, bool | None, bool | None]:
    """Command line, console ring, whether a crash kernel is loaded, and whether page tables can be shadowed; None for
    what Xen does not say to us.
    """
    try:
        gate = opened()
    except HypervisorError:
        return None, None, None, None
    line = _or_none(lambda: _command_line(gate))
    console = _or_none(lambda: Sysctl(gate).console())
    crash = _or_none(lambda: bool(gate.call(KEXEC_OP, _KEXEC_STATUS, gate.write(0, _KEXEC_TYPE_CRASH))))
    return line, console, crash, _or_none(lambda: Sysctl(gate).physinfo().has_shadow)


def _command_line(gate: Gate) -> str:
    at = gate.write(0, bytes(1024))
    gate.call(XEN_VERSION, _COMMANDLINE, at)
    return gate.read(0, 1024).split(b"\0")[0].decode("utf-8", "backslashreplace")


def _or_none(what: Callable[[], T]) -> T | None:
    try:
        return what()
    except (OSError, HypervisorError):
        return None


def scans_seen(event: ev.Stored, *, before: bool) -> bool:
    """Whether the journal shows that Xen reads banks: a record that a machine check or a poll made. A new start of the
    service may be on another Xen, of which nothing is known.
    """
    match event:
        case ev.Started():
            return False
        case ev.Received(record=record) if record.format is Format.XEN_MC_INFO:
            return before or record.delivery in {Delivery.MACHINE_CHECK, Delivery.POLLED}
        case _:
            return before


_SOFTIRQ: Final = re.compile(r"CPU\d{1,5} handling errors$", re.MULTILINE)
"""With mce_verbosity=verbose, on one CPU at the end of every machine check (mce_softirq), whatever was found."""
_FOUND: Final = re.compile(
    r"Machine Check Exception|Bank \d{1,3}: |Enter UCR recovery|Fatal machine check|error page is own|vMCE",
    re.MULTILINE,
)
"""What else Xen says when a bank had something to tell."""
_UNHEARD: Final = re.compile(r"(?:POLLED|CMCI) occurred on CPU \d{1,5}", re.MULTILINE)
"""A corrected error while nobody had VIRQ_MCA: Xen shows it here, and keeps it nowhere (x86_mcinfo_dump)."""


def silent_checks(console: str) -> int:
    """How many machine checks Xen went through without a word about any bank, by its console; 0 if it names a bank."""
    return 0 if _FOUND.search(console) else len(_SOFTIRQ.findall(console))


def unheard(console: str) -> int:
    """How many corrected errors Xen told its console only."""
    return len(_UNHEARD.findall(console))
