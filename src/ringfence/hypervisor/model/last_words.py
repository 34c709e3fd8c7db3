"""What the hypervisor says before it halts (B.2): to each sink, the smallest useful record first, within a bound.

First round: one record to every sink, which is enough to know what happened: to ERST the error that ended it as a CPER
record (UEFI 2.10 N.2, with a ``struct mce`` as Xen's mce-apei.c writes it), to the others its one line. Second round:
everything else. A sink that does not work is noted, and the next one gets its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ringfence.arch import mcg, mci_status
from ringfence.hypervisor.model.core import TEXT_SINKS, Core
from ringfence.hypervisor.model.observer import Said, Sink
from ringfence.record.binary import cper
from ringfence.record.evidence import Record, Registers

ERST_RECORDS: Final = 16
"""Room of the model's ERST; a real one has some dozens of KiB."""

XEN_STRUCT_MCE_BYTES: Final = 88
"""The ``struct mce`` that Xen's mce-apei.c writes."""

STRUCT_MCE_BYTES: Final = 128
"""Linux's: it has room for the registers of Scalable MCA."""

TEXT_BYTES: Final = 4096
"""What one text sink gets at most: a serial line of 115,200 baud takes a third of a second for it."""


class LastWords:
    """The sinks. ``erst`` outlives every reset until it is cleared."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._erst: dict[int, bytes] = {}
        self._read: set[int] = set()
        self._next_id = 1

    def say(self, records: Sequence[Record], why: str) -> tuple[Sink, ...]:
        """Puts the evidence out; returns the sinks that took none of it. ``records``: what ended it first."""
        failed: set[Sink] = set()
        first, rest = records[:1], records[1:]
        for record in first:
            self._to_erst(record, failed)
        for sink in TEXT_SINKS:
            self._to_text(sink, summary(first, why), failed)
        for record in rest:
            self._to_erst(record, failed)
        text = "".join(line for record in records for line in console_lines(record))
        for sink in TEXT_SINKS:
            self._to_text(sink, (text + PANIC)[:TEXT_BYTES], failed)
        return tuple(sink for sink in Sink if sink in failed)

    def leftovers(self) -> tuple[Record, ...]:
        """What ERST holds of earlier boots, oldest first; each record stays until ``forget_read``."""
        self._read = set(self._erst)
        return tuple(
            replace(evidence, origin=replace(evidence.origin, offset=number))
            for number, blob in sorted(self._erst.items())
            for evidence in cper.read(blob, "ERST")
            if isinstance(evidence, Record)
        )

    def forget_read(self) -> None:
        """Clears what ``leftovers`` has shown: it is durable elsewhere."""
        for number in self._read:
            self._erst.pop(number, None)
        self._read.clear()

    @property
    def erst(self) -> tuple[bytes, ...]:
        """The records in ERST as they stand there."""
        return tuple(self._erst[number] for number in sorted(self._erst))

    def _to_erst(self, record: Record, failed: set[Sink]) -> None:
        if record.registers.status is None:
            return
        blob = _cper(record, self._next_id)
        works = Sink.ERST not in self._core.broken_sinks and len(self._erst) < ERST_RECORDS
        self._core.tell(Said(self._core.now_ns, Sink.ERST, blob, works))
        if not works:
            failed.add(Sink.ERST)
            return
        self._erst[self._next_id] = blob
        self._next_id += 1

    def _to_text(self, sink: Sink, text: str, failed: set[Sink]) -> None:
        works = sink not in self._core.broken_sinks
        self._core.tell(Said(self._core.now_ns, sink, text.encode(), works))
        if works:
            self._core.put(sink, text)
        else:
            failed.add(sink)


def _cper(record: Record, number: int) -> bytes:
    """The smallest CPER record that keeps all registers."""
    held = record.registers
    bare = Record(
        origin=record.origin,
        format=record.format,
        raw=record.raw,
        registers=Registers(
            status=held.status,
            addr=held.addr,
            misc=held.misc,
            mcg_status=held.mcg_status,
            mcg_cap=held.mcg_cap,
            tsc=held.tsc,
            ipid=held.ipid,
            synd=held.synd,
        ),
        bank=record.bank,
        cpu=record.cpu,
        socket=record.socket,
        apicid=record.apicid,
        vendor=record.vendor,
        cpuid=record.cpuid,
    )
    length = XEN_STRUCT_MCE_BYTES if held.ipid is None and held.synd is None else STRUCT_MCE_BYTES
    return cper.write(bare, record_id=number, mce_length=length)


def summary(records: Sequence[Record], why: str) -> str:
    """The one line that says most."""
    return "".join(f"(XEN) Fatal machine check: {why}\n{_bank_line(record)}" for record in records) or (
        f"(XEN) Fatal machine check: {why}\n"
    )


def console_lines(record: Record) -> tuple[str, ...]:
    """A record as Xen prints it on its console (mce.c, x86_mcinfo_dump)."""
    gstatus = record.registers.mcg_status or 0
    if mcg.MCIP.of(gstatus):
        head = f"(XEN) CPU{record.cpu}: Machine Check Exception: {gstatus:16x}\n"
    else:
        head = f"(XEN) POLLED occurred on CPU {record.cpu}.\n"
    return (head, _bank_line(record))


def _bank_line(record: Record) -> str:
    held = record.registers
    if held.status is None:
        return "(XEN) no bank says why\n"
    misc = f"[{held.misc or 0:16x}]" if mci_status.MISCV.of(held.status) else ""
    addr = f" at {held.addr or 0:16x}" if mci_status.ADDRV.of(held.status) else ""
    return f"(XEN) Bank {record.bank}: {held.status:16x}{misc}{addr}\n"


PANIC: Final = "(XEN) Panic on CPU 0:\n(XEN) HARDWARE ERROR\n"
