"""``struct mce`` of corrected memory errors, and of an uncorrected one, as a kernel gives them."""

from __future__ import annotations

from typing import Final

from ringfence.record.binary.struct_mce import StructMce

CORRECTED: Final = 0x8C00_0040_0001_0091
"""Intel: VAL, MISCV, ADDRV, a count of one; a memory read error on channel 1 (SDM vol. 3B, compound error codes)."""
UNCORRECTED: Final = 0xBD00_0000_0000_00C0
"""VAL, UC, EN, MISCV, ADDRV, S: memory scrubbing on channel 0, action optional."""
SKYLAKE_X: Final = 0x50654
ZEN4: Final = 0xA10F11
MEMORY_AMD: Final = 0x9C2040000000011B
"""Scalable MCA: VAL, EN, MISCV, ADDRV, SyndV, CECC."""


def mce(at: int = 0, *, addr: int = 0x2_0000_0000, status: int = CORRECTED, misc: int = 0x86, **more: int) -> StructMce:
    """A report of an Intel memory controller; ``at`` makes its time stamp counter."""
    fields = {"cpuid": SKYLAKE_X, "bank": 13, "cpu": 1, "extcpu": 1, "apicid": 2, "socketid": 0, "mcgcap": 0xF00_0C14}
    return StructMce(
        status=status, addr=addr, misc=misc, tsc=10**9 + at, time=1_790_000_000 + at // 1000, finished=1,
        **(fields | more),
    )  # fmt: skip


def uncorrected(addr: int = 0x7654_3210_00) -> StructMce:
    """A scrubber's machine check: nobody has consumed the error (SRAO)."""
    return mce(addr=addr, status=UNCORRECTED, misc=0x8C, mcgstatus=5)


def amd(at: int = 0, *, addr: int = 0x1_0000, synd: int = 0, status: int = MEMORY_AMD, **more: int) -> StructMce:
    """A report of a Zen 4 memory controller (UMC, bank 21)."""
    fields = {"cpuid": ZEN4, "bank": 21, "socketid": 0, "apicid": 0, "mcgcap": 0x11C, "ipid": 0x9600050F00}
    return StructMce(
        status=status, addr=addr, misc=0xD000_0000_0000_0000, synd=synd, tsc=10**9 + at, time=1_790_000_000,
        cpuvendor=2, finished=1, **(fields | more),
    )  # fmt: skip
