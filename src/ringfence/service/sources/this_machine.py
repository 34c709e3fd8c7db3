"""Which processor this machine has, for evidence of its own kernel that names none (proc(5), cpuinfo)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from ringfence.arch.cpuid import Signature, eax, vendor_of
from ringfence.record.evidence import Evidence, Record

CPUINFO: Final = Path("/proc/cpuinfo")
ASSUMED: Final = "processor: the evidence names none; this machine's is taken, as its own kernel logged it"


def signature_of_this_machine(path: Path = CPUINFO) -> Signature | None:
    """By the first processor that the file lists; None if it does not say, or cannot be read."""
    said: dict[str, str] = {}
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if not key.strip():
                    break
                said[key.strip()] = value.strip()
    except OSError:
        return None
    vendor = vendor_of(said.get("vendor_id", ""))
    numbers = [said.get(key, "") for key in ("cpu family", "model", "stepping")]
    if vendor is None or not all(each.isascii() and each.isdecimal() and len(each) <= 3 for each in numbers):
        return None
    found = Signature(vendor, *map(int, numbers))
    try:
        eax(found)
    except ValueError:
        return None
    return found


def completed(item: Evidence, this: Signature | None) -> Evidence:
    """A machine check that names no processor gets this machine's: without it an error that the processor contained
    would be taken for one that nobody knows the reach of, and a host that goes on would be halted.
    """
    if this is None or not isinstance(item, Record) or item.registers.status is None:
        return item
    if item.vendor is not None or item.cpuid is not None:
        return item
    return replace(item, vendor=this.vendor, cpuid=eax(this), assumptions=(*item.assumptions, ASSUMED))
