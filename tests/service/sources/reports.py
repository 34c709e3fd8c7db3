"""Physical errors, and the reports that each kind of source makes of one."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.arch.cpuid import Vendor
from ringfence.record.evidence import (
    ClaimedSeverity,
    Delivery,
    Format,
    Location,
    MemoryReport,
    Origin,
    Record,
    Registers,
)

CE, UCNA, SRAR = 0x8C00004000010090, 0xBC00000000010090, 0xBD80000000100134
"""A corrected read of memory; an uncorrected one that nobody has consumed; a consumed load of the data cache (SDM
vol. 3B 17.6.3)."""
MISC = 0x86  # physical address, down to bit 6 (SDM vol. 3B 17.3.2.4)


@dataclass(frozen=True)
class Fault:
    """A physical error, as it really was."""

    time: float
    page: int
    line: int
    bank: int
    cpu: int
    fatal: bool = False

    @property
    def address(self) -> int:
        return self.page << 12 | self.line << 6


def registers(fault: Fault, *, late: float = 0.0, tsc: int | None = None, status: int | None = None) -> Record:
    if status is None:
        status = UCNA if fault.fatal else CE
    return Record(
        origin=Origin("x"), format=Format.STRUCT_MCE, raw=b"", bank=fault.bank, cpu=fault.cpu, vendor=Vendor.INTEL,
        cpuid=0x50654, time=fault.time + late,
        registers=Registers(
            status=status, addr=fault.address, misc=MISC, mcg_cap=0x1000C16, mcg_status=5 if status == SRAR else 0,
            tsc=tsc,
        ),
    )  # fmt: skip


def edac(fault: Fault, *, late: float = 0.0, label: str | None = "DIMM_A") -> Record:
    severity = ClaimedSeverity.RECOVERABLE if fault.fatal else ClaimedSeverity.CORRECTED
    return Record(
        origin=Origin("x"), format=Format.EDAC, raw=b"", time=fault.time + late,
        memory=MemoryReport(
            severity=severity, error="memory read error", location=Location(label=label),
            physical_address=fault.address, grain_bytes=32,
        ),
    )  # fmt: skip


def firmware(fault: Fault, *, late: float = 0.0) -> Record:
    bare = edac(fault, late=late, label=None)
    return Record(
        origin=bare.origin, format=Format.GHES, raw=b"", time=bare.time, memory=bare.memory, delivery=Delivery.FIRMWARE
    )


def poisoned(fault: Fault, *, late: float = 0.0) -> Record:
    memory = MemoryReport(
        severity=ClaimedSeverity.RECOVERABLE, page_frame=fault.page, physical_address=fault.page << 12, grain_bytes=4096
    )
    return Record(origin=Origin("x"), format=Format.MEMORY_FAILURE, raw=b"", time=fault.time + late, memory=memory)


def counted(count: int, *, until: float, since: float, label: str = "DIMM_A", fatal: bool = False) -> Record:
    """What EDAC's counters have grown by between two looks (``sources.edac_sysfs``)."""
    severity = ClaimedSeverity.RECOVERABLE if fatal else ClaimedSeverity.CORRECTED
    return Record(
        origin=Origin("c"), format=Format.EDAC, raw=b"", time=until, stamp=f"{since:.3f}/{until:.3f}", count=count,
        memory=MemoryReport(severity=severity, location=Location(label=label)),
    )  # fmt: skip
