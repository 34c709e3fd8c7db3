"""A guest's memory map: which guest-physical address stands at which address of its QEMU.

Source: QEMU's human monitor, by its own words: ``info mtree -f`` (softmmu/memory.c, mtree_print_flatview) lists what
the guest's CPUs see, ``gpa2hva`` (monitor/misc.c) tells the address of one page. Both only read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST_RANGES: Final = 4096
"""A guest with many DIMMs has some hundred."""

Ask = Callable[[str], str]
"""Puts a command to the human monitor; raises whatever its transport raises."""

_VIEW = re.compile(r"^FlatView #\d+$")
_SPACE = re.compile(r'^ AS "(?P<name>[^"]+)", root: ')
_RANGE = re.compile(
    r"^  (?P<first>[0-9a-f]{16})-(?P<last>[0-9a-f]{16}) \(prio -?\d+, (?:ram|rom|romd|ramd|nv-ram)\): "
    r"(?P<block>.+?)(?: @(?P<offset>[0-9a-f]{16}))?(?: KVM)?$"
)
_HVA = re.compile(r"^Host virtual address for 0x[0-9a-f]+ \(.*\) is (?P<hva>0x[0-9a-f]+)")
_CR4 = re.compile(r"\bCR4=(?P<value>[0-9a-f]{8})\b")
_MCE: Final = 1 << 6
"""CR4.MCE (SDM vol. 3A 2.5)."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Guest-physical addresses from ``guest`` on, ``size`` bytes, that stand at ``host`` in QEMU."""

    guest: int
    size: int
    host: int


@dataclass(frozen=True, slots=True)
class GuestMemory:
    """The map of one guest."""

    stretches: tuple[Stretch, ...] = ()

    def guest_address(self, host: int) -> int | None:
        """The guest-physical address that stands there; None where QEMU has memory of its own."""
        for each in self.stretches:
            if each.host <= host < each.host + each.size:
                return each.guest + host - each.host
        return None

    def host_address(self, guest: int) -> int | None:
        """Where a guest-physical address stands in QEMU; None if there is no memory."""
        for each in self.stretches:
            if each.guest <= guest < each.guest + each.size:
                return each.host + guest - each.guest
        return None


def read(ask: Ask) -> GuestMemory:
    """The map, as QEMU tells it now; empty if it tells it in words that are not known."""
    bases: dict[str, int | None] = {}
    found: list[Stretch] = []
    for first, last, block, offset in _ranges(ask("info mtree -f")):
        if block not in bases:
            bases[block] = _base(ask, first, offset)
        base = bases[block]
        if base is not None:
            found.append(Stretch(first, last - first + 1, base + offset))
    return GuestMemory(tuple(found))


def _base(ask: Ask, guest: int, offset: int) -> int | None:
    """Where a block begins in QEMU."""
    match = _HVA.search(ask(f"gpa2hva {guest:#x}"))
    return None if match is None else int(match["hva"], 16) - offset


def _ranges(text: str) -> list[tuple[int, int, str, int]]:
    """What the view of the address space "memory" says: first and last address, block, offset within it."""
    found: list[tuple[int, int, str, int]] = []
    is_memory = False
    for line in map(str.rstrip, text.splitlines()):
        if _VIEW.match(line):
            is_memory = False
        elif match := _SPACE.match(line):
            is_memory = is_memory or match["name"] == "memory"
        elif is_memory and len(found) < MOST_RANGES and (match := _RANGE.match(line)):
            offset = int(match["offset"], 16) if match["offset"] else 0
            found.append((int(match["first"], 16), int(match["last"], 16), match["block"], offset))
    return found


def is_host_address(ask: Ask, guest: int, host: int) -> bool:
    """Whether QEMU itself says that a guest-physical address stands there."""
    match = _HVA.search(ask(f"gpa2hva {guest:#x}"))
    return match is not None and int(match["hva"], 16) == host


def mca_enabled(ask: Ask) -> bool:
    """Whether the guest's first CPU has CR4.MCE on."""
    match = _CR4.search(ask("info registers"))
    return match is not None and bool(int(match["value"], 16) & _MCE)
