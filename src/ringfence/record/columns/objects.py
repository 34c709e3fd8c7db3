"""Plain records as objects, for the few that someone looks at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringfence.arch.cpuid import LINUX_VENDORS
from ringfence.arch.mcg import EIPV, LMCE_S, MCIP
from ringfence.record.columns.blocks import Block
from ringfence.record.columns.printk import REGISTERS, Present
from ringfence.record.columns.scan import Columns
from ringfence.record.evidence import Claim, ClaimKind, Delivery, Format, Origin, Record, Registers
from ringfence.record.text.lines import RawLine, strip

_NAMES: Final = tuple((register, str(register.name).lower()) for register in REGISTERS)
_BODIES: Final = (b"CPU ", b"RIP ", b"TSC ", b"PROCESSOR ")


def records(block: Block, file: str) -> Iterator[Record]:
    """The plain records of a block, as the reader of single lines would give them."""
    for index in range(len(block.records)):
        yield record(block, index, file)


def record(block: Block, index: int, file: str) -> Record:
    """One plain record of a block."""
    values = {name: getattr(block.records, name)[index].item() for name in Columns.__slots__}
    present = Present(values["present"])
    lines = list(_own_lines(block, index))
    mcg_status = values["mcg_status"]
    registers = {name: values[name] for register, name in _NAMES if register in present}
    claims: tuple[Claim, ...] = ()
    if Present.IP in present:
        registers |= {"ip": values["ip"], "cs": values["cs"]}
        if not mcg_status & EIPV.mask:
            claims = (Claim(ClaimKind.OTHER, "RIP is inexact (EIPV clear)", Origin(file, lines[1].number)),)
    delivery = Delivery.POLLED
    if mcg_status & MCIP.mask:
        delivery = Delivery.LOCAL_MACHINE_CHECK if mcg_status & LMCE_S.mask else Delivery.MACHINE_CHECK
    return Record(
        origin=Origin(file, values["line"]),
        format=Format.PRINTK,
        raw=b"\n".join(line.raw for line in lines),
        registers=Registers(status=values["status"], mcg_status=mcg_status, tsc=values["tsc"], **registers),
        bank=values["bank"],
        cpu=values["cpu"],
        socket=values["socket"],
        apicid=values["apicid"],
        vendor=LINUX_VENDORS.get(values["vendor"]),
        cpuid=values["cpuid"],
        microcode=values["microcode"] if Present.MICROCODE in present else None,
        time=float(values["time"]),
        stamp=next((stamp for line in lines if (stamp := strip(line).stamp) is not None), None),
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
