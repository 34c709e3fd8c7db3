"""The structures of hypercall 48, ``struct xen_mc``, byte for byte.

Layout: Xen xen/include/public/arch-x86/xen-mca.h, x86_64; the same in 4.17, 4.20 and 4.23-unstable. What a fetch
returns, ``struct mc_info``, is ``record.binary.xen_mc_info``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

import msgspec

INTERFACE_VERSION: Final = 0x01EC_C003
"""XEN_MCA_INTERFACE_VERSION."""

VIRQ_MCA: Final = 16

XEN_MC_BYTES: Final = 152
"""sizeof(struct xen_mc): the header and a union as large as its largest member, xen_mc_msrinject."""

LOGICAL_CPU_BYTES: Final = 304
"""sizeof(struct mcinfo_logical_cpu)."""

_HEADER = Struct("<II")
_FETCH = Struct("<I4xQQ")
_NOTIFY = Struct("<HHI")
_PHYSCPUINFO = Struct("<I4xQ")
_LOGICAL_CPU = Struct("<II HH IIIII i III I 16s 64s 7I II i 4x QQ 112x")
"""``mc_msrvalues`` has room for eight pairs of register and value; the first is given, seven are zero."""

NCAPS: Final = 7


class Command(IntEnum):
    """XEN_MC_*: ``cmd``."""

    FETCH = 1
    NOTIFYDOMAIN = 2
    PHYSCPUINFO = 3
    MSRINJECT = 4
    MCEINJECT = 5
    INJECT_V2 = 6


class FetchFlag(IntFlag):
    """``flags`` of a fetch as it goes in."""

    NONURGENT = 1
    URGENT = 2
    ACK = 4


class Answer(IntFlag):
    """``flags`` as they come out. CANNOTHANDLE and NOTDELIVERED are notifydomain's."""

    OK = 0
    FETCHFAILED = 1
    NODATA = 2
    NOMATCH = 4
    CANNOTHANDLE = 8
    NOTDELIVERED = 0x10


def xen_mc(command: int, body: bytes, version: int = INTERFACE_VERSION) -> bytes:
    """The 152 bytes of ``struct xen_mc`` with the union's ``body``."""
    return (_HEADER.pack(command, version) + body).ljust(XEN_MC_BYTES, b"\0")


def header(blob: bytes) -> tuple[int, int]:
    """``cmd`` and ``interface_version``."""
    command, version = _HEADER.unpack_from(blob)
    return int(command), int(version)


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """struct xen_mc_fetch. ``data`` is the guest's address of a ``struct mc_info``, 0 for none."""

    flags: int
    fetch_id: int = 0
    data: int = 0

    def pack(self) -> bytes:
        """The whole ``struct xen_mc``."""
        return xen_mc(Command.FETCH, _FETCH.pack(self.flags, self.fetch_id, self.data))

    @classmethod
    def unpack(cls, blob: bytes) -> Fetch:
        """From the whole ``struct xen_mc``."""
        flags, fetch_id, data = _FETCH.unpack_from(blob, _HEADER.size)
        return cls(flags=flags, fetch_id=fetch_id, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyDomain:
    """struct xen_mc_notifydomain."""

    domid: int
    vcpuid: int = 0xFFFF
    flags: int = 0

    def pack(self) -> bytes:
        """The whole ``struct xen_mc``."""
        return xen_mc(Command.NOTIFYDOMAIN, _NOTIFY.pack(self.domid, self.vcpuid, self.flags))

    @classmethod
    def unpack(cls, blob: bytes) -> NotifyDomain:
        """From the whole ``struct xen_mc``."""
        domid, vcpuid, flags = _NOTIFY.unpack_from(blob, _HEADER.size)
        return cls(domid=domid, vcpuid=vcpuid, flags=flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysCpuInfo:
    """struct xen_mc_physcpuinfo. ``info`` is the guest's address of an array of ``mcinfo_logical_cpu``, 0 for none."""

    ncpus: int = 0
    info: int = 0

    def pack(self) -> bytes:
        """The whole ``struct xen_mc``."""
        return xen_mc(Command.PHYSCPUINFO, _PHYSCPUINFO.pack(self.ncpus, self.info))

    @classmethod
    def unpack(cls, blob: bytes) -> PhysCpuInfo:
        """From the whole ``struct xen_mc``."""
        ncpus, info = _PHYSCPUINFO.unpack_from(blob, _HEADER.size)
        return cls(ncpus=ncpus, info=info)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalCpu:
    """struct mcinfo_logical_cpu, with the one MSR that Xen gives: MCG_CAP.

    ``vendor`` is Xen's own number, wrong from 4.9.0 to 4.21: ``vendorid`` says who made the CPU.
    """

    cpunr: int
    chipid: int
    coreid: int
    threadid: int
    apicid: int
    ncores: int
    nthreads: int
    family: int
    model: int
    step: int
    vendorid: str
    brandid: str
    mcg_cap: int
    clusterid: int = 0
    ncores_active: int = 0
    cpuid_level: int = 0
    vendor: int = 0
    caps: tuple[int, ...] = (0,) * NCAPS
    cache_size: int = 0
    cache_alignment: int = 64

    def pack(self) -> bytes:
        """The 304 bytes."""
        return _LOGICAL_CPU.pack(
            self.cpunr, self.chipid, self.coreid, self.threadid, self.apicid, self.clusterid, self.ncores,
            self.ncores_active, self.nthreads, self.cpuid_level, self.family, self.vendor, self.model, self.step,
            self.vendorid.encode("ascii"), self.brandid.encode("ascii"), *self.caps, self.cache_size,
            self.cache_alignment, 1, _MSR_MCG_CAP, self.mcg_cap,
        )  # fmt: skip

    @classmethod
    def unpack(cls, blob: bytes) -> LogicalCpu:
        """From the 304 bytes. Without an MSR value, MCG_CAP is 0."""
        (
            cpunr, chipid, coreid, threadid, apicid, clusterid, ncores, ncores_active, nthreads, cpuid_level, family,
            vendor, model, step, vendorid, brandid, *rest,
        ) = _LOGICAL_CPU.unpack(blob)  # fmt: skip
        caps, (cache_size, cache_alignment, nmsrvals, msr, value) = tuple(rest[:NCAPS]), rest[NCAPS:]
        return cls(
            cpunr=cpunr, chipid=chipid, coreid=coreid, threadid=threadid, apicid=apicid, clusterid=clusterid,
            ncores=ncores, ncores_active=ncores_active, nthreads=nthreads, cpuid_level=cpuid_level, family=family,
            vendor=vendor, model=model, step=step, vendorid=vendorid.rstrip(b"\0").decode("ascii"),
            brandid=brandid.rstrip(b"\0").decode("ascii"), caps=caps, cache_size=cache_size,
            cache_alignment=cache_alignment, mcg_cap=value if nmsrvals and msr == _MSR_MCG_CAP else 0,
        )  # fmt: skip


_MSR_MCG_CAP: Final = 0x179
