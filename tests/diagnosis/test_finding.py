"""A finding depends on what a record says, not on who reported it when, nor on what was read before it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


MODELS = (
    (Vendor.INTEL, 0x106A5), (Vendor.INTEL, 0x206D7), (Vendor.INTEL, 0x406F1), (Vendor.INTEL, 0x50657),
    (Vendor.INTEL, 0x606A6), (Vendor.INTEL, 0x806F8), (Vendor.INTEL, 0x130F00), (Vendor.INTEL, 0x906E9),
    (Vendor.AMD, 0x800F12), (Vendor.AMD, 0x830F10), (Vendor.AMD, 0xA00F11), (Vendor.AMD, 0xA60F12),
    (Vendor.AMD, 0xB00F21), (Vendor.AMD, 0x600F12), (Vendor.AMD, 0x100F42), (Vendor.HYGON, 0x900F02),
    (Vendor.ZHAOXIN, 0x107B0), (None, None),
)  # fmt: skip
words = st.integers(0, (1 << 64) - 1)
addresses = st.one_of(
    words,
    st.integers(0, (1 << 52) - 1),
    st.sampled_from((0, 1, 0xFC00_0000, 0xFEC0_0000, 0xFFFF_FFFF, 1 << 32, 0xFDF7 << 24, 0x1_0000 << 32, 1 << 47)),
    # The lowest valid bit in the address (AMD), the sign of a linear one.
    st.builds(lambda lsb, low: lsb << 56 | low, st.integers(0, 63), st.integers(0, (1 << 56) - 1)),
    st.builds(lambda low: 0x1FF << 47 | low, st.integers(0, (1 << 47) - 1)),
)


@settings(max_examples=800, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    bank=st.integers(0, 32),
    code=st.sampled_from((0x90, 0xC1, 0x134, 0x136, 0xE0B, 0x400, 0x402, 0x5, 0x11B, 0x80B, 0x108, 0x151, 0x0)),
    status=words,
    high=st.sampled_from((0x8C, 0x84, 0xBC, 0xBD, 0xFE, 0x9C, 0x98)),
    misc=st.one_of(words, st.sampled_from((None, 0x86, 0x8C, 0x46, 0))),
    synd=st.one_of(words, st.none()),
    ipid=st.sampled_from((None, 0x9600050F00, 0x500B000000000, 0xB000000000, 0x2E00000000)),
    elsewhere=st.one_of(words, st.just(0), st.sampled_from([1 << bit for bit in range(9, 64)])),
    source=st.sampled_from((Format.PRINTK, Format.XEN_MC_INFO, Format.AMD_DECODED)),
    other=addresses,
    addr=addresses,
)
def test_where_an_error_is_says_nothing_but_that(
    model: tuple[Vendor | None, int | None], bank: int, code: int, status: int, high: int, misc: int | None,
    synd: int | None, ipid: int | None, elsewhere: int, source: Format, other: int, addr: int,
) -> None:  # fmt: skip
    registers = Registers(
        status=status & ((1 << 56) - 1) & ~0xFFFF | code | high << 56, misc=misc, synd=synd, ipid=ipid, mcg_status=0
    )
    record = replace(FIRST, format=source, vendor=model[0], cpuid=model[1], bank=bank)
    diagnose(replace(record, registers=replace(registers, addr=other)))
    # What a memory controller's MCi_MISC says beside the address's form is, mostly, where it was.
    low = None if misc is None else misc & 0x1FF | elsewhere & ~0x1FF
    diagnose(replace(record, registers=replace(registers, addr=other, misc=low)))
    record = replace(record, registers=replace(registers, addr=addr))
    meaning = decode(record)
    signature = meaning.processor.signature if meaning.processor is not None else None
    assert diagnose(record) == Finding(meaning, judge(record, meaning.vendor, signature, meaning.reading.not_an_error))


@pytest.mark.parametrize("model", [model for model in MODELS if model[0] is Vendor.INTEL], ids=str)
def test_where_an_error_is_says_nothing_but_that_in_every_bank(model: tuple[Vendor, int]) -> None:
    draw = Random(model[1])
    codes = (0x90, 0x9F, 0xC1, 0x80, 0x134, 0xE0B, 0x400)
    for bank, code, high in product(range(33), codes, (0x8C, 0xBD)):
        status = high << 56 | code | draw.choice((0, 1 << 16, 0x10 << 16, 0x101 << 16)) | draw.choice((0, 1 << 38))
        for _ in range(2):
            misc = draw.choice((0x86, 0x8C)) | draw.choice((0, draw.getrandbits(55) << 9, 1 << draw.randrange(9, 64)))
            registers = Registers(status=status, misc=misc, addr=draw.getrandbits(46), mcg_status=0)
            record = replace(
                FIRST, format=Format.PRINTK, vendor=model[0], cpuid=model[1], bank=bank, registers=registers
            )
            meaning = decode(record)
            assert meaning.processor is not None
            alone = judge(record, meaning.vendor, meaning.processor.signature, meaning.reading.not_an_error)
            assert diagnose(record) == Finding(meaning, alone)
