"""What the kernel did with a poisoned page (mm/memory-failure.c and the #MC handler's own words)."""

from __future__ import annotations

import re

from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Format, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar

_FRAME = re.compile(
    r"(?:Memory failure|MCE|Soft offline|soft offline|Unpoison): ?(?P<frame>0x[0-9a-f]{1,13}):? (?P<text>.{1,300})$"
)
_OLD_FRAME = re.compile(r"MCE (?P<frame>0x[0-9a-f]{1,13}): (?P<text>.{1,300})$")
_ADDRESS = re.compile(
    r"(?P<text>(?:Uncorrected hardware memory error in (?:user|kernel)-access|Kernel accessed poison in user space)"
    r" at (?P<address>[0-9a-f]{1,16})(?!\w).{0,100})$"
)
_KILLING = re.compile(
    r"(?:MCE: )?(?P<text>Killing .{1,64}:\d{1,9} due to hardware memory corruption fault at [0-9a-f]{1,16})$"
)
_HWPOISON = re.compile(r"(?:Injecting memory failure|Unpoisoned page|Software-unpoisoned)")
PAGE_SHIFT = 12


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
    """The fragment that a line about a poisoned page is, or None."""
    if match := _FRAME.match(body) or _OLD_FRAME.match(body):
        frame = int(match["frame"], 16)
        soft = body.lower().startswith("soft")
        return Fragment(
            Format.MEMORY_FAILURE,
            "failure",
            opens=True,
            memory=MemoryReport(
                severity=ClaimedSeverity.CORRECTED if soft else ClaimedSeverity.RECOVERABLE,
                error=match["text"],
                page_frame=frame,
                physical_address=frame << PAGE_SHIFT,
                grain_bytes=1 << PAGE_SHIFT,
            ),
            claims=((ClaimKind.MEMORY_FAILURE, body),),
        )
    if match := _ADDRESS.match(body):
        address = int(match["address"], 16)
        return Fragment(
            Format.MEMORY_FAILURE,
            "failure",
            opens=True,
            memory=MemoryReport(
                severity=ClaimedSeverity.RECOVERABLE,
                error=match["text"],
                page_frame=address >> PAGE_SHIFT,
                physical_address=address,
            ),
            claims=((ClaimKind.MEMORY_FAILURE, body),),
        )
    if match := _KILLING.match(body):
        return Fragment(Format.MEMORY_FAILURE, "killing", claims=((ClaimKind.MEMORY_FAILURE, match["text"]),))
    if _HWPOISON.match(body):
        return Fragment(Format.MEMORY_FAILURE, "known")
    return None


GRAMMAR = Grammar(
    format=Format.MEMORY_FAILURE,
    tokens=(
        "Memory failure: ",
        "MCE 0x",
        "MCE: 0x",
        "oft offline: ",
        "hardware memory",
        "memory failure",
        "Kernel accessed poison",
    ),
    evidence_tokens=("Memory failure: 0x", "Uncorrected hardware memory error", "Kernel accessed poison"),
    read=read,
)
