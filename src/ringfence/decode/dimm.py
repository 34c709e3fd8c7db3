"""Names a DIMM by the SMBIOS handle that the evidence gives: a pure join of a record with the machine's own table.

Only a handle is joined (UEFI 2.10 N.2.5 and N.2.6: Module Handle is that of an SMBIOS type 17 structure). A channel and
a slot, or firmware's card and module, are numbered by the driver or the firmware; DSP0134 has no such numbers, only the
board maker's free text, so no rule leads from them to a socket, and none is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ringfence.record.binary.smbios import MemoryDevice
from ringfence.record.evidence import Record

_NOT_A_NAME = frozenset({"", "any memory", "unknown label", "unknown memory"})
"""What EDAC puts in a label's place (Linux drivers/edac/edac_mc.c, ghes_edac.c)."""


@dataclass(frozen=True, slots=True)
class KnownDimms:
    """The memory devices of the machine that evidence is of; ``source`` says where the table was read.

    ``files`` are the sources whose evidence is this machine's; None is all of them, because the user says so.
    """

    devices: tuple[MemoryDevice, ...]
    source: str
    files: frozenset[str] | None = None


def label(device: MemoryDevice, devices: Sequence[MemoryDevice]) -> str | None:
    """What the board calls the device's socket: the device locator.

    The bank locator stands before it where several devices have the same device locator ("DIMM 0" on each channel).
    """
    same = [other for other in devices if other.device_locator == device.device_locator]
    if device.device_locator is not None and len(same) == 1:
        return device.device_locator
    return " ".join(filter(None, (device.bank_locator, device.device_locator))) or None


def _module(device: MemoryDevice) -> str:
    """What the table says is in the socket."""
    if device.is_empty:
        return "the socket is empty by it"
    words = [text for text in (device.manufacturer, device.part_number) if text]
    if device.serial_number is not None:
        words.append(f"serial number {device.serial_number}")
    if device.size_bytes is not None:
        gib, rest = divmod(device.size_bytes, 1 << 30)
        words.append(f"{device.size_bytes >> 20} MiB" if rest else f"{gib} GiB")
    return f"by it the socket holds {', '.join(words)}" if words else "it does not say what the socket holds"


def with_dimm(record: Record, known: KnownDimms | None) -> Record:
    """The record with its DIMM named by ``known``, if the evidence gives a handle of exactly one device in it.

    That the table is right for the evidence is listed as an assumption, with the module that the socket holds by the
    table: modules can be exchanged between an error and the reading of the table, sockets keep their handle (DSP0134
    6.1.2 forbids to give a handle to another structure). A name that the source itself gives is kept.
    """
    if known is None or record.memory is None or record.memory.module_handle is None:
        return record
    if known.files is not None and record.origin.file not in known.files:
        return record
    handle = record.memory.module_handle
    found = [device for device in known.devices if device.handle == handle]
    # Some firmware gives a handle twice: then it names nothing.
    if len(found) != 1 or (name := label(found[0], known.devices)) is None:
        return record
    place = record.memory.location
    if place.label is None or place.label in _NOT_A_NAME:
        place = replace(place, label=name)
    said = f"DIMM: SMBIOS handle {handle:#06x} is {name} in {known.source}; {_module(found[0])}"
    return replace(record, memory=replace(record.memory, location=place), assumptions=(*record.assumptions, said))
