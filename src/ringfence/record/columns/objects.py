"""Plain records as objects, for the few that someone looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ringfence.arch.cpuid import LINUX_VENDORS
from ringfence.arch.mcg import EIPV, LMCE_S, MCIP
from ringfence.record.columns.blocks import Block
from ringfence.record.columns.printk import REGISTERS, Present
from ringfence.record.columns.scan import Columns
from ringfence.record.evidence import Claim, ClaimKind, Delivery, Format, Origin, Record, Registers
from ringfence.record.text.lines import RawLine, strip

_NAMES: Final = tuple((int(register), str(register.name).lower()) for register in REGISTERS)
_BODIES: Final = (b"CPU ", b"RIP ", b"TSC ", b"PROCESSOR ")


def records(block: Block, file: str) -> Iterator[Record]:
    """The plain records of a block, as the reader of single lines would give them."""
    for index in range(len(block.records)):
        yield record(block, index, file)


def record(block: Block, index: int, file: str) -> Record:
    """One plain record of a block."""
    lines = list(_own_lines(block, index))
    return replace(
        record_of(block.records, index, file, lines[1].number),
        raw=b"\n".join(line.raw for line in lines),
        stamp=next((stamp for line in lines if (stamp := strip(line).stamp) is not None), None),
    )


def record_of(rows: Columns, index: int, file: str, second_line: int | None = None) -> Record:
    """One plain record from its columns alone: without its raw text and its stamp, which they do not hold.

    ``second_line``: the number of the record's second line, if another line stands before it.
    """
    status, mcg_status, tsc = int(rows.status[index]), int(rows.mcg_status[index]), int(rows.tsc[index])
    present = int(rows.present[index])
    registers = {name: int(getattr(rows, name)[index]) for flag, name in _NAMES if flag & present}
    line = int(rows.line[index])
    claims: tuple[Claim, ...] = ()
    if present & Present.IP:
        registers |= {"ip": int(rows.ip[index]), "cs": int(rows.cs[index])}
        if not mcg_status & EIPV.mask:
            claims = (Claim(ClaimKind.OTHER, "RIP is inexact (EIPV clear)", Origin(file, second_line or line + 1)),)
    delivery = Delivery.POLLED
    if mcg_status & MCIP.mask:
        delivery = Delivery.LOCAL_MACHINE_CHECK if mcg_status & LMCE_S.mask else Delivery.MACHINE_CHECK
    return Record(
        origin=Origin(file, line),
        format=Format.PRINTK,
        raw=b"",
        registers=Registers(status=status, mcg_status=mcg_status, tsc=tsc, **registers),
        bank=int(rows.bank[index]),
        cpu=int(rows.cpu[index]),
        socket=int(rows.socket[index]),
        apicid=int(rows.apicid[index]),
        vendor=LINUX_VENDORS.get(int(rows.vendor[index])),
        cpuid=int(rows.cpuid[index]),
        microcode=int(rows.microcode[index]) if present & Present.MICROCODE else None,
        time=float(rows.time[index]),
        delivery=delivery,
        claims=claims,
    )


def _own_lines(block: Block, index: int) -> Iterator[RawLine]:
    """The lines of a record, without the others that stand between them."""
    columns = block.records
    prefix = int(columns.prefix_bytes[index])
    text = block.text(int(columns.head[index]), int(columns.end[index])).removesuffix(b"\n")
    for number, line in enumerate(text.split(b"\n"), start=int(columns.line[index])):
        if line[:prefix].endswith(b"[Hardware Error]: ") and line[prefix:].startswith(_BODIES):
            yield RawLine(number, line)
