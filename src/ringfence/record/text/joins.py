"""Lines that speak of another format's record: EDAC's, what the kernel did with a page, and its last words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ringfence.arch.cpuid import Vendor
from ringfence.arch.mci_status import DEFERRED, UC
from ringfence.record.evidence import ClaimedSeverity, Format, MemoryReport
from ringfence.record.text.drafts import JOIN_LINES, Burst, Draft
from ringfence.record.text.grammar import Fragment, Values
from ringfence.record.text.lines import Line

WITH_REGISTERS = frozenset(Format) - {Format.EDAC, Format.MEMORY_FAILURE, Format.QEMU, Format.MCELOG_CLIENT}
_ERR_CODE = re.compile(r"err_code:0x?([0-9a-f]{4}):0?x?([0-9a-f]{4})|err_code:([0-9a-f]{4}):([0-9a-f]{4})")
_LINE_BYTES = 64
"""A cache line: some drivers clear the bits of MCi_ADDR below it, and two errors within one are of the same place."""


def _same_kind(draft: Draft, memory: MemoryReport) -> bool:
    """Whether EDAC's CE, UE or Fatal is what MCi_STATUS says of the error; without a status or a kind nothing speaks
    against it.

    EDAC prints UE for what AMD calls deferred (edac_mc.c has two forms of line only). Bit 44 is Deferred on AMD alone;
    elsewhere it belongs to the corrected error count.
    """
    status = draft.registers.get("status")
    if status is None or memory.severity is None:
        return True
    corrected = memory.severity in {ClaimedSeverity.CORRECTED, ClaimedSeverity.INFORMATIONAL}
    if UC.of(status):
        return not corrected and memory.severity is not ClaimedSeverity.DEFERRED
    vendor = draft.values.get("vendor")
    amd = draft.format is Format.AMD_DECODED or vendor in {Vendor.AMD, Vendor.HYGON} or "ipid" in draft.registers
    if DEFERRED.of(status) and (amd or vendor is None):
        return memory.severity is not ClaimedSeverity.FATAL and not (amd and corrected)
    return corrected


def _same_address(address: int, memory: MemoryReport) -> bool:
    """Whether MCi_ADDR and EDAC's page and offset are of one cache line, or of one piece of EDAC's grain if larger."""
    if memory.physical_address is None:
        return memory.page_frame == address >> 12
    unit = max(_LINE_BYTES, memory.grain_bytes or 0)
    return address // unit == memory.physical_address // unit


def _speaks_of(draft: Draft, memory: MemoryReport, text: str) -> bool:
    """Whether an EDAC line names this record: its error code, or its address."""
    status, address = draft.registers.get("status"), draft.registers.get("addr")
    known = address is not None and memory.page_frame is not None
    if address is not None and known and not _same_address(address, memory):
        return False
    if (match := _ERR_CODE.search(text)) is not None and status is not None:
        mscod, mcacod = (int(part, 16) for part in match.groups() if part is not None)
        return (status >> 16 & 0xFFFF, status & 0xFFFF) == (mscod, mcacod)
    return known


def _bare(memory: MemoryReport) -> bool:
    return memory.page_frame is None and memory.location.label is None


def _first_told(burst: Burst, draft: Draft) -> Draft:
    """The first in the file of the records that are one report, printed by the kernel and by a driver: it is shown."""
    if not draft.registers.get("tsc"):
        return draft
    told = ("tsc", "status", "addr", "misc")
    same = [
        d for d in burst.drafts
        if all(d.registers.get(name) == draft.registers.get(name) for name in told)
        and (d.values.get("cpu"), d.values.get("bank")) == (draft.values.get("cpu"), draft.values.get("bank"))
    ]  # fmt: skip
    return min(same, key=lambda each: each.first.number)


def join_edac(burst: Burst, pieces: Sequence[tuple[Line, Fragment]]) -> list[tuple[Line, Fragment]]:
    """Give EDAC's lines to the records that they speak of; returns those that stand alone."""
    alone: list[tuple[Line, Fragment]] = []
    for line, fragment in pieces:
        memory = fragment.memory
        target: Draft | None = None
        if memory is not None:
            near = [
                d for d in burst.drafts
                if line.order - d.last <= JOIN_LINES and d.first.order < line.order
                and d.format in WITH_REGISTERS and d.memory is None and _same_kind(d, memory)
            ]  # fmt: skip
            near.sort(key=lambda draft: draft.first.order)
            matching = [d for d in near if _speaks_of(d, memory, fragment.claims[0][1])]
            # The AMD decoder calls EDAC between the lines of its own print: the record around the line is the one.
            around = [d for d in near if d.format is Format.AMD_DECODED and d.last > line.order]
            bare = near[-1:] if _bare(memory) and near and line.order - near[-1].last <= 2 else []
            target = next(iter(matching[-1:] or around or bare), None)
        if target is None:
            alone.append((line, fragment))
        else:
            target = _first_told(burst, target)
            # EDAC's count is of the errors that the driver accounts for; the bank's record is one event. It is a claim.
            target.add(line, replace(fragment, values=Values()), burst.file)
    return alone


def join_memory_failures(burst: Burst, pieces: Sequence[tuple[Line, Fragment]]) -> None:
    """Give what the kernel did with a page to the record that names the page, or make a record of it."""
    by_frame: dict[int, tuple[Draft, int]] = {}
    current: tuple[Draft, int] | None = None
    for line, fragment in pieces:
        frame = fragment.memory.page_frame if fragment.memory is not None else None
        if fragment.memory is None or frame is None:
            if current is None or line.order - current[1] > JOIN_LINES:
                join_claim(burst, line, fragment)
            else:
                current[0].add(line, fragment, burst.file)
            continue
        known = by_frame.get(frame)
        if known is None or line.order - known[1] > JOIN_LINES:
            near = [
                d for d in burst.drafts
                if line.order - d.last <= JOIN_LINES and d.format in WITH_REGISTERS
                and (a := d.registers.get("addr")) is not None and a >> 12 == frame
            ]  # fmt: skip
            known = (_first_told(burst, near[-1]) if near else burst.new(Format.MEMORY_FAILURE), line.order)
        current = by_frame[frame] = (known[0], line.order)
        current[0].add(line, fragment, burst.file)


def join_claim(burst: Burst, line: Line, fragment: Fragment) -> None:
    """Give a summary or panic line to the latest record within reach; without one it is unrecognised."""
    draft = burst.latest(line, frozenset({Format.PRINTK, Format.AMD_DECODED}))
    if draft is None:
        burst.orphan([line], "it speaks of a machine check whose record is missing")
    else:
        draft.add(line, fragment, burst.file)
