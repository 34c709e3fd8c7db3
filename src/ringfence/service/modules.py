"""Which memory modules sit in the machine's sockets, by its firmware: one that was swapped is noticed at a start.

A module is told from another by its serial number (SMBIOS type 17, DSP0134 7.18). What firmware writes where it has
none is no number, nor is one that several sockets give: neither is ever evidence of a swap.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.decode.dimm import label
from ringfence.diagnosis.fault_case import Ending, swapped
from ringfence.errors import FormatError
from ringfence.journal import events as ev
from ringfence.journal.state import State
from ringfence.record.binary import smbios
from ringfence.record.binary.smbios import MemoryDevice
from ringfence.service.asking import ask
from ringfence.service.attendants import House
from ringfence.service.writer import Desk
from ringfence.world.identities import CaseId
from ringfence.world.situation import Suspect

MOST_MODULES: Final = 1024
"""Sockets that are remembered: the largest servers have some hundred."""

BY_FIRMWARE: Final = "firmware's table of modules (SMBIOS)"
"""Who says so, in the journal."""

_NO_NUMBER: Final = re.compile(
    r"\W*(?:|unknown|none|n/?a|not.?specified|not.?available|no.?dimm|empty|undefined|default.?string|to.?be.?filled.*"
    r"|o\.?e\.?m\.?|serial.?(?:number|num|no)?\.?|ser.?(?:num|no)\W?\d*|dimm.?\d*.?ser.*|0?123456789(?:0|abcdef)?|(.)\1*)\W*",
    re.IGNORECASE,
)
"""What boards write where they know no serial number (seen by dmidecode: Unknown, Not Specified, NO DIMM, SerNum0,
Default string, 00000000, FFFFFFFF)."""


def serial_of(text: str | None) -> str:
    """A serial number as it tells one module from another; empty if it does not."""
    found = (text or "").strip()
    return "" if _NO_NUMBER.fullmatch(found) else found.upper()


def modules_of(devices: Sequence[MemoryDevice]) -> tuple[ev.Module, ...]:
    """The modules by their sockets; sockets that are empty, or without a name of their own, are left out."""
    named = [(label(each, devices), each) for each in devices if not each.is_empty]
    names = Counter(name for name, _ in named)
    serials = Counter(serial_of(each.serial_number) for _, each in named)
    found = [
        ev.Module(
            name=name,
            serial=serial if serials[serial] == 1 else "",
            part_number=each.part_number or "",
            size_bytes=each.size_bytes,
        )
        for name, each in named
        if name is not None and names[name] == 1
        for serial in (serial_of(each.serial_number),)
    ]
    return tuple(found[:MOST_MODULES])


def noticed(modules: tuple[ev.Module, ...], state: State, at_ms: int) -> tuple[ev.Cleared | ev.ModulesSeen, ...]:
    """What the journal shall hold of the modules that are there now: nothing if they are as before."""
    now = {each.name: each.serial for each in modules if each.serial}
    if all(state.modules.get(name) == serial for name, serial in now.items()):
        return ()
    others = swapped(state.modules, now)
    changed = tuple(_sentence(name, state.modules, now) for name in others)
    cleared = (
        ev.Cleared(
            at_ms=at_ms, suspect=Suspect.DIMM, name=name, how=Ending.REPLACED, who=BY_FIRMWARE, because=sentence,
            serial=now[name], case=_last_case(state, name),
        )
        for name, sentence in zip(others, changed, strict=True)
    )  # fmt: skip
    return (*cleared, ev.ModulesSeen(at_ms=at_ms, modules=modules, changed=changed))


def _sentence(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    was, came = before[name], now[name]
    from_where = next((other for other, serial in before.items() if serial == came), "")
    where_to = next((other for other, serial in now.items() if serial == was), "")
    moved = f", which was in {from_where}" if from_where else ""
    gone = f" (now in {where_to})" if where_to else ""
    return f"in {name} sits the module with serial number {came}{moved}, and no longer {was}{gone}"


def _last_case(state: State, name: str) -> CaseId | None:
    fault = state.faults.of(Suspect.DIMM, name)
    return fault.cases[-1] if fault is not None and fault.cases else None


def _note(desk: Desk, modules: tuple[ev.Module, ...]) -> None:
    desk.loop.note(*noticed(modules, desk.loop.state, desk.world.host.now_ms()))


@dataclass(frozen=True, slots=True)
class ModuleWatch:
    """Looks once at a start: modules are exchanged while a machine is off."""

    table: Path = Path(smbios.TABLE_FILE)
    name: str = "memory modules"

    async def attend(self, house: House) -> None:
        """As ``attendants.Attendant.attend``. A table that is not there, may not be read, or is none tells nothing."""
        try:
            devices = smbios.read(await asyncio.to_thread(self._read))
        except (OSError, FormatError):
            return
        modules = modules_of(devices)
        if any(each.serial for each in modules):
            await ask(house.writer, lambda desk: _note(desk, modules))

    def _read(self) -> bytes:
        with self.table.open("rb") as file:
            return file.read(smbios.MAX_TABLE_BYTES + 1)
