"""What Dom0's software does with hypercall 48: fetch, read, acknowledge; and who the CPU was that reported.

``mc_info`` names a CPU by its APIC id alone. The rest that a decoder needs comes from XEN_MC_physcpuinfo: number,
maker, model, MCG_CAP; registers of Scalable MCA come in the extended entry, by their MSR numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ringfence.arch import mci_misc, msrs
from ringfence.arch.cpuid import Signature, Vendor, eax, vendor_of
from ringfence.arch.mci_status import ADDRV, MISCV
from ringfence.hypervisor.mca_abi import LOGICAL_CPU_BYTES, Answer, Fetch, FetchFlag, LogicalCpu, PhysCpuInfo
from ringfence.quick import changed
from ringfence.record.binary import xen_mc_info
from ringfence.record.binary.xen_mc_info import MC_INFO_BYTES, McInfo
from ringfence.record.evidence import Origin, Record
from ringfence.world.identities import DOM0, PAGE_SHIFT, CpuId, DomainId, Frame, VcpuId
from ringfence.world.situation import Context, Running

Hypercall = Callable[[DomainId, bytes, int], tuple[int, bytes, bytes]]
"""Hypercall 48: caller, ``struct xen_mc``, size of the caller's buffer; result, struct and buffer afterwards."""

SOURCE: Final = "XEN_MC_fetch"

ANYWHERE: Final = 0x1000
"""Where the buffer stands in the caller's memory, if nobody looks: any address but 0."""

_NOTHING: Final = int(Answer.NODATA | Answer.FETCHFAILED)
_ACK_URGENT: Final = FetchFlag.ACK | FetchFlag.URGENT
_ACK_NONURGENT: Final = FetchFlag.ACK | FetchFlag.NONURGENT


@dataclass(frozen=True, slots=True)
class Fetched:
    """An entry that was fetched and is not acknowledged."""

    fetch_id: int
    urgent: bool
    raw: bytes


class Dom0Reader:
    """Dom0's side of the hypercall. ``buffer`` is the address at which the caller's buffer stands."""

    def __init__(self, hypercall: Hypercall, buffer: int = ANYWHERE) -> None:
        self._hypercall, self._buffer = hypercall, buffer
        self._asks_urgent = Fetch(flags=FetchFlag.URGENT, data=buffer).pack()
        self._asks_nonurgent = Fetch(flags=FetchFlag.NONURGENT, data=buffer).pack()

    def fetch(self, *, urgent: bool) -> Fetched | None:
        """The oldest entry of a class, None if there is none."""
        result, argument, buffer = self._hypercall(
            DOM0, self._asks_urgent if urgent else self._asks_nonurgent, MC_INFO_BYTES
        )
        answer = Fetch.unpack(argument)
        if result or answer.flags & _NOTHING:
            return None
        return Fetched(answer.fetch_id, urgent, buffer)

    def acknowledge(self, fetched: Fetched) -> None:
        """Lets Xen forget an entry."""
        flags = _ACK_URGENT if fetched.urgent else _ACK_NONURGENT
        self._hypercall(DOM0, Fetch(flags=flags, fetch_id=fetched.fetch_id).pack(), 0)

    def cpus(self) -> tuple[LogicalCpu, ...]:
        """All CPUs, as XEN_MC_physcpuinfo gives them."""
        _, argument, _ = self._hypercall(DOM0, PhysCpuInfo().pack(), 0)
        count = PhysCpuInfo.unpack(argument).ncpus
        call = PhysCpuInfo(ncpus=count, info=self._buffer)
        _, argument, buffer = self._hypercall(DOM0, call.pack(), count * LOGICAL_CPU_BYTES)
        return tuple(
            LogicalCpu.unpack(buffer[at : at + LOGICAL_CPU_BYTES])
            for at in range(0, PhysCpuInfo.unpack(argument).ncpus * LOGICAL_CPU_BYTES, LOGICAL_CPU_BYTES)
        )


def records_of(raw: bytes, cpus: Iterable[LogicalCpu], source: str = SOURCE) -> tuple[Record, ...]:
    """The records of one ``mc_info``, one for each bank, each with what is known of its CPU."""
    info = McInfo.unpack(raw)
    origin = Origin(source)
    found = tuple(each for each in xen_mc_info.records(info, origin=origin, raw=raw) if isinstance(each, Record))
    known = tuple(cpus)
    return tuple(identified(record, known) for record in found)


def identified(record: Record, cpus: tuple[LogicalCpu, ...]) -> Record:
    """The record with what is known of the CPU that reported it."""
    cpu = next((each for each in cpus if each.apicid == record.apicid), None)
    if cpu is None:
        return record
    vendor, cpuid = _processor(cpu.vendorid, cpu.family, cpu.model, cpu.step)
    return changed(
        record,
        cpu=cpu.cpunr,
        vendor=vendor,
        cpuid=cpuid,
        registers=changed(record.registers, mcg_cap=cpu.mcg_cap or None, **smca_of(record)),
    )


@lru_cache(maxsize=64)
def _processor(vendorid: str, family: int, model: int, step: int) -> tuple[Vendor | None, int | None]:
    """Who made a processor, and its CPUID.1:EAX."""
    vendor = vendor_of(vendorid)
    return vendor, None if vendor is None else eax(Signature(vendor, family, model, step))


def smca_of(record: Record) -> dict[str, int | None]:
    """The registers of Scalable MCA that stand in the extended entry, by their names in ``Registers``."""
    if record.hypervisor is None or not record.hypervisor.extended or record.bank is None:
        return {}
    first = msrs.SMCA_BANK0 + msrs.SMCA_STRIDE * record.bank
    values = {msr - first: value for msr, value in record.hypervisor.extended}
    if msrs.Smca.IPID not in values:
        return {}
    return {
        "ipid": values[msrs.Smca.IPID],
        "synd": values.get(msrs.Smca.SYND),
        "config": values.get(msrs.Smca.CONFIG),
        "destat": values.get(msrs.Smca.DESTAT),
        "deaddr": values.get(msrs.Smca.DEADDR),
    }


MOST_FRAMES: Final = 1024
"""Frames of one record that are listed: more is more than one can treat."""

_ADDRESS_BITS: Final = (1 << 52) - 1


def frames_named(record: Record) -> tuple[Frame, ...]:
    """The frames that a record's address stands for, if it is one of the machine's memory: what it is, is decode's."""
    seen, held = record.hypervisor, record.registers
    if seen is not None and seen.machine_frame is not None:
        return (Frame(seen.machine_frame),)
    if held.status is None or held.addr is None or not ADDRV.of(held.status):
        return ()
    frame = (held.addr & _ADDRESS_BITS) >> PAGE_SHIFT
    pages = 1
    if MISCV.of(held.status) and mci_misc.ADDRESS_MODE.of(held.misc or 0) == mci_misc.AddressMode.PHYSICAL:
        lsb = mci_misc.ADDRESS_LSB.of(held.misc or 0)
        pages = 1 << max(0, lsb - PAGE_SHIFT)
    first = frame & ~(pages - 1)
    return tuple(Frame(first + each) for each in range(min(pages, MOST_FRAMES)))


DOMID_IDLE: Final = 0x7FFF
"""Nobody ran (xen/include/public/xen.h)."""


def running_of(record: Record) -> Running:
    """Who ran on the CPU that reported, as far as the telemetry itself says (mc_domid of the global entry)."""
    cpu = None if record.cpu is None else CpuId(record.cpu)
    seen = record.hypervisor
    if seen is None or seen.domain is None:
        return Running(cpu=cpu)
    if seen.domain == DOMID_IDLE:
        return Running(cpu=cpu, context=Context.IDLE)
    vcpu = None if seen.vcpu is None else VcpuId(seen.vcpu)
    return Running(cpu=cpu, domain=DomainId(seen.domain), vcpu=vcpu)
