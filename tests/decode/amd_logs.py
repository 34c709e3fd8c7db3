"""Builds the records that the tests of the AMD decoder read."""

from __future__ import annotations

from ringfence.arch.cpuid import Processor, Signature, Vendor
from ringfence.decode.amd import read_bank
from ringfence.decode.meaning import BankReading
from ringfence.record.evidence import Format, Origin, Record, Registers


def amd(family: int, model: int, stepping: int = 0, vendor: Vendor = Vendor.AMD) -> Processor:
    return Processor(Signature(vendor, family, model, stepping), None)


def logged(
    bank: int | None,
    status: int,
    *,
    addr: int | None = None,
    misc: int | None = None,
    synd: int | None = None,
    ipid: int | None = None,
    config: int | None = None,
    destat: int | None = None,
    synd1: int | None = None,
    synd2: int | None = None,
    mcg_status: int | None = None,
    tsc: int | None = None,
    socket: int | None = None,
    node: int | None = None,
) -> Record:
    return Record(
        origin=Origin("-"),
        format=Format.TYPED,
        raw=b"",
        bank=bank,
        socket=socket,
        node=node,
        registers=Registers(
            status=status,
            addr=addr,
            misc=misc,
            synd=synd,
            ipid=ipid,
            config=config,
            destat=destat,
            synd1=synd1,
            synd2=synd2,
            mcg_status=mcg_status,
            tsc=tsc,
        ),
    )


def notes_of(reading: BankReading) -> str:
    return "\n".join(note.text for note in reading.notes)


__all__ = ["amd", "logged", "notes_of", "read_bank"]
