"""QEMU's messages on the host when memory of a guest, or its own, is poisoned.

Facts from QEMU target/i386/kvm/kvm.c (kvm_arch_on_sigbus_vcpu), and from a series on qemu-devel for large pages. QEMU
learns of the error by SIGBUS, so the host's kernel has reported it before: these lines say which guest was hit, not
how. QEMU knows neither the host's physical address nor the registers.
"""

from __future__ import annotations

import re
from typing import Final

from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Format, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar

_INJECTED = re.compile(
    r"Guest (?:MCE )?Memory Error at QEMU addr (?P<host>0x[0-9a-f]{1,16}) and GUEST addr (?P<guest>0x[0-9a-f]{1,16})"
    r"(?P<large> on lost large page (?P<size>[0-9a-f]{1,12})@(?P<base>[0-9a-f]{1,16}))? "
    r"of type (?P<type>BUS_MCEERR_A[RO]) injected",
    re.IGNORECASE,
)
_LARGE = re.compile(
    r"Memory [Ee]rror: Loo?sing a large page \(size: (?P<size>\d{1,12})\) at QEMU addr (?P<host>0x[0-9a-f]{1,16})"
    r" and GUEST addr (?P<guest>0x[0-9a-f]{1,16})"
)
_OWN = re.compile(
    r"Hardware memory error (?:at addr (?P<host>0x[0-9a-f]{1,16}) of type (?P<type>BUS_MCEERR_A[RO]) )?"
    r"for memory used by QEMU itself instead of guest system!"
)
_STOPS = re.compile(r"(?:qemu[\w.-]{0,40}: )?Hardware memory error!$")

GUEST_PHYSICAL: Final = "the GUEST address is guest-physical: the host's physical address is not known from this line"
_CONSUMED: Final = {"BUS_MCEERR_AR": "the guest consumed the error", "BUS_MCEERR_AO": "the guest had not consumed it"}
_RECOVERABLE: Final = ClaimedSeverity.RECOVERABLE


def _claims(match: re.Match[str]) -> tuple[tuple[ClaimKind, str], ...]:
    return ((ClaimKind.HYPERVISOR, match[0]),)


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
    """The fragment that a line of QEMU about poisoned memory is, or None."""
    if match := _INJECTED.search(body):
        size = int(match["size"], 16) if match["size"] else None
        kind = match["type"].upper()
        return Fragment(
            Format.QEMU,
            "injected",
            closes=True,
            may_open=True,
            memory=MemoryReport(
                severity=_RECOVERABLE,
                error=_CONSUMED[kind],
                grain_bytes=size,
                guest_address=int(match["guest"], 16),
            ),
            claims=(*_claims(match), (ClaimKind.INJECTION, f"{kind} injected into the guest")),
            assumptions=(GUEST_PHYSICAL,),
        )
    if match := _LARGE.search(body):
        return Fragment(
            Format.QEMU,
            "large page",
            opens=True,
            memory=MemoryReport(
                severity=_RECOVERABLE, grain_bytes=int(match["size"]), guest_address=int(match["guest"], 16)
            ),
            claims=_claims(match),
            assumptions=(GUEST_PHYSICAL,),
        )
    if match := _OWN.search(body):
        return Fragment(
            Format.QEMU,
            "own",
            opens=True,
            memory=MemoryReport(severity=_RECOVERABLE, error="memory of QEMU itself"),
            claims=_claims(match),
        )
    if _STOPS.search(body):
        return Fragment(
            Format.QEMU,
            "stops",
            closes=True,
            may_open=True,
            memory=MemoryReport(severity=_RECOVERABLE),
            claims=((ClaimKind.PANIC, "Hardware memory error! (QEMU ends)"),),
        )
    return None


GRAMMAR = Grammar(
    format=Format.QEMU,
    tokens=("Memory Error at QEMU addr", "Memory error: Lo", "Memory Error: Lo", "Hardware memory error"),
    evidence_tokens=("Memory Error at QEMU addr", "memory used by QEMU itself"),
    read=read,
)
