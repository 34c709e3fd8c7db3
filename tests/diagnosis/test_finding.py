"""A finding depends on what a record says, not on who reported it when, nor on what was read before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.decode.decoder import decode
from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.diagnosis.severity import judge
from ringfence.record.evidence import Claim, ClaimKind, Delivery, Format, HypervisorReport, Origin, Record, Registers

FIRST = Record(
    origin=Origin("a.log", 1), format=Format.AMD_DECODED, raw=b"MC4_STATUS[-|CE|MiscV]", bank=4, cpu=1, apicid=2,
    vendor=Vendor.AMD, cpuid=0x600F12, time=1.0, stamp="1.0", delivery=Delivery.POLLED,
    registers=Registers(status=0x9C08_4800_0000_011B, addr=0x1000, misc=0xD000_0000_0000_0000),
    claims=(Claim(ClaimKind.OTHER, "said", Origin("a.log", 2)),), assumptions=("processor: taken from line 1",),
)  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"origin": Origin("b.log", 7)},
        {"cpu": 3, "apicid": 6, "time": 2.0, "stamp": "2.0"},
        {"raw": b"MC4_STATUS[-|CE|MiscV|Poison]"},
        {"claims": (Claim(ClaimKind.OTHER, "said", Origin("b.log", 8)),)},
        {"assumptions": ("processor: taken from line 9",)},
        {"socket": 1},
        {"hypervisor": HypervisorReport(domain=3, machine_frame=7, global_flags=4)},
        {"registers": Registers(status=0xBC08_4800_0000_011B, addr=0x1000)},
    ],
    ids="-".join,
)
def test_a_record_like_one_before_gets_the_finding_that_it_would_get_alone(change: dict[str, Any]) -> None:
    diagnose(FIRST)
    other = replace(FIRST, **change)
    meaning = decode(other)
    assert meaning.processor is not None
    alone = judge(other, meaning.vendor, meaning.processor.signature, meaning.reading.not_an_error)
    assert diagnose(other) == Finding(meaning, alone)


@pytest.mark.parametrize(("vendor", "cpuid"), [(Vendor.AMD, 0x800F12), (Vendor.AMD, 0x600F12), (Vendor.INTEL, 0x50657)])
@pytest.mark.parametrize("status", [0x9C08_4800_0000_011B, 0xBC00_0000_0000_011B, 0x8C00_0040_0001_0090])
def test_when_it_was_says_nothing_and_that_no_time_stamp_was_taken_does(
    vendor: Vendor, cpuid: int, status: int
) -> None:
    for tsc in (7, 0, None, 1 << 40, 0):
        registers = Registers(status=status, addr=0x1000, misc=0xD000_0000_0000_0000, mcg_status=0, tsc=tsc)
        record = replace(FIRST, vendor=vendor, cpuid=cpuid, registers=registers)
        meaning = decode(record)
        assert meaning.processor is not None
        alone = judge(record, meaning.vendor, meaning.processor.signature, meaning.reading.not_an_error)
        assert diagnose(record) == Finding(meaning, alone)
