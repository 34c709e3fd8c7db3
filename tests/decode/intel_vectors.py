"""Records and processors for the tests of Intel's and Zhaoxin's banks."""

from __future__ import annotations

from ringfence.arch.cpuid import Processor, Signature, Vendor
from ringfence.record.evidence import Delivery, Format, Location, Origin, Record, Registers


def processor(family: int, model: int, stepping: int = 4, vendor: Vendor = Vendor.INTEL) -> Processor:
    return Processor(Signature(vendor, family, model, stepping), None)


def record(
    bank: int | None,
    status: int,
    *,
    misc: int | None = None,
    addr: int | None = None,
    mcg_status: int | None = 0,
    mcg_cap: int | None = None,
    delivery: Delivery = Delivery.UNKNOWN,
    socket: int | None = None,
) -> Record:
    return Record(
        origin=Origin("vector"),
        format=Format.TYPED,
        raw=b"",
        registers=Registers(status=status, misc=misc, addr=addr, mcg_status=mcg_status, mcg_cap=mcg_cap),
        bank=bank,
        delivery=delivery,
        socket=socket,
    )


def said(location: Location) -> dict[str, int | str]:
    """The parts of a location that are known."""
    return {name: value for name in Location.__slots__ if (value := getattr(location, name)) is not None}


NEHALEM_EP = processor(6, 0x1A)
WESTMERE_EP = processor(6, 0x2C)
WESTMERE_EX = processor(6, 0x2F)
SANDY_BRIDGE_EP = processor(6, 0x2D)
IVY_BRIDGE_EP = processor(6, 0x3E)
HASWELL_EP = processor(6, 0x3F)
HASWELL_CLIENT = processor(6, 0x3C)
BROADWELL_EP = processor(6, 0x4F)
BROADWELL_DE = processor(6, 0x56)
KNIGHTS_LANDING = processor(6, 0x57)
SKYLAKE_SP = processor(6, 0x55)
ICE_LAKE_SP = processor(6, 0x6A)
SAPPHIRE_RAPIDS = processor(6, 0x8F)
GRANITE_RAPIDS = processor(6, 0xAD)
DIAMOND_RAPIDS = processor(19, 1)
YONAH = processor(6, 0x0E)
CORE2 = processor(6, 0x0F)
PENTIUM_III = processor(6, 0x0B)
PENTIUM_4 = processor(15, 2)
TULSA = processor(15, 6)
DUNNINGTON = processor(6, 0x1D)
KABY_LAKE = processor(6, 0x9E)
KH50000 = processor(7, 0x7B, vendor=Vendor.ZHAOXIN)
