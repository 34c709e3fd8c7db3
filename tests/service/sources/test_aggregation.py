"""Storms put together: nothing is lost, nothing is added, and what is told of the first holds for all."""

from __future__ import annotations

import functools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.errors import FormatError
from ringfence.journal import events as ev
from ringfence.record.binary.struct_mce import LENGTHS, StructMce
from ringfence.record.evidence import Origin, Record, Unrecognised
from ringfence.record.repeats import Repeats, unpacked
from ringfence.service import seen
from ringfence.service.sources import aggregation
from ringfence.service.sources.aggregation import Aggregation
from ringfence.service.sources.source import may_be_uncorrected
from ringfence.world.identities import Frame
from tests.service.sources.structs import CORRECTED, amd, mce, uncorrected

LONG = 128


def packed(reports: Iterable[StructMce], length: int = LONG) -> bytes:
    return b"".join(each.pack(length) for each in reports)


def split(structs: bytes, length: int = LONG) -> list[bytes]:
    return [structs[at : at + length] for at in range(0, len(structs), length)]


def raws(items: Iterable[Record | Repeats | Unrecognised]) -> list[bytes]:
    return [
        raw
        for item in items
        for raw in (split(item.structs, item.struct_bytes) if isinstance(item, Repeats) else [item.raw])
    ]


def emptied(held: Aggregation) -> list[Record | Repeats]:
    found: list[Record | Repeats] = []
    while items := held.release():
        found += items
    return found


ADDRESSES = (
    0, 0x1000, 0x1040, 0xFBFF_FFC0, 0xFC00_0000, 0xFEC0_0000, 0x1_0000_0000, 0x2_0000_0040, 0xFDF7_0000_0000, 1 << 52,
    0x12_3456_7FC0,
)  # fmt: skip
"""On both sides of every border that ``decode.significance.address_class`` knows."""

INTEL: dict[str, tuple[int, ...]] = {
    "cpuid": (0x50654, 0x606A6, 0x206D7, 0x306F2),
    "bank": (7, 13, 128),
    "status": (CORRECTED, CORRECTED | 3 << 38, 0x8C00_0000_0001_0092, 0),
    "misc": (0x86, 0x8C, 0x8D, 0x0086 | 5 << 46, 0x1234_5086, 0x1234_6086, 0),
    "addr": ADDRESSES,
    "extcpu": (0, 1),
}
AMD: dict[str, tuple[int, ...]] = {
    "cpuid": (0xA10F11, 0x800F12, 0x860F01, 0x830F10, 0xA90F01),
    "ipid": (0x9600050F00, 0x9600150F00),
    "status": (0x9C2040000000011B, 0x9C2041000000011B, 0x9C20_4000_0000_011B | 12 << 24),
    "synd": (0, 0x5D_0000_0100, 0x0800_0A40_0001),
    "addr": ADDRESSES,
}


def pairs() -> Iterator[tuple[StructMce, StructMce]]:
    """Any two reports that differ in one thing, or in address and one more."""
    for make, few in ((mce, INTEL), (amd, AMD)):
        names = list(few)
        for base in product(*(few[name] for name in names if name not in {"misc", "synd", "addr"})):
            fixed = dict(zip((name for name in names if name not in {"misc", "synd", "addr"}), base, strict=True))
            registers = "misc" if make is mce else "synd"
            for one, other in combinations(ADDRESSES, 2):
                yield make(0, **fixed, addr=one), make(1, **fixed, addr=other)
            for a, b in permutations(few[registers], 2):
                first = make(0, **fixed, **{registers: a}, addr=0x1_0000_0000)
                yield first, make(1, **fixed, **{registers: b}, addr=0x2_0000_0000)


@st.composite
def storms(draw: st.DrawFn) -> list[StructMce]:
    """Reports that differ in few things."""
    make, few = draw(st.sampled_from(((mce, INTEL), (amd, AMD))))
    chosen = {name: draw(st.lists(st.sampled_from(few[name]), min_size=1, max_size=2)) for name in few}
    return [
        make(at, **{name: draw(st.sampled_from(values)) for name, values in chosen.items()})
        for at in range(draw(st.integers(2, 12)))
    ]


@settings(max_examples=100)
@given(storms(), st.integers(1, 4), st.integers(1, 3))
def test_everything_comes_out_exactly_once(storm: list[StructMce], apart: int, parts: int) -> None:
    held = Aggregation("s", apart)
    structs, out = packed(storm), list[bytes]()
    for part in (split(structs)[at::parts] for at in range(parts)):
        out += raws(held.take(b"".join(part), LONG))
    assert held.held == len(storm) - len(out)
    out += raws(emptied(held))
    assert Counter(out) == Counter(split(structs))
    assert held.held == 0


@pytest.mark.parametrize("apart", [1, 40])
def test_what_is_told_of_the_first_holds_for_both(apart: int) -> None:
    told_together = 0
    for one, other in pairs():
        # With one kind told apart, the first report has it; the two others are of those that are too many.
        before = [mce(status=1)] if apart == 1 else []
        held = Aggregation("s", apart)
        held.take(packed((*before, one, other)), LONG)
        for together in emptied(held):
            if isinstance(together, Repeats):
                told_together += 1
                holds_for_all(together)
    assert told_together > 1_000


@functools.cache
def one_by_one(raw: bytes) -> tuple[Finding, ev.Received]:
    finding = diagnose(StructMce.unpack(raw).record(origin=Origin("s"), raw=raw))
    return finding, seen.received(finding, at_ms=0, token=None, case=None, urgent=False, part=0, sink=None)


def holds_for_all(together: Repeats) -> None:
    first = diagnose(together.first)
    told = seen.repeated(first, together, at_ms=0, apart=True)
    pages: Sequence[Frame | None] = seen.pages_of(first, together) or [None] * together.reports
    for raw, page in zip(split(together.structs), pages, strict=True):
        finding, one = one_by_one(raw)
        assert page == one.frame
        assert (told.severity, told.corrected, told.count) == (one.severity, one.corrected, one.count)
        assert (told.unit, told.unit_kind, told.core) == (one.unit, one.unit_kind, one.core)
        assert first.reading.address.because == finding.reading.address.because
        # Of what is not alike, only what all have in common is said.
        assert set(told.place) <= set(one.place)
        assert told.rank in {one.rank, None} and told.dimm in {one.dimm, None}
        if together.alike:
            assert (told.summary, told.place, told.rank, told.dimm, told.syndrome) == (
                one.summary, one.place, one.rank, one.dimm, one.syndrome
            )  # fmt: skip


@given(storms(), st.sampled_from(sorted(LENGTHS)))
def test_every_form_of_the_structure_is_taken(storm: list[StructMce], length: int) -> None:
    cut = [each.pack(128)[:length] for each in storm]
    held = Aggregation("s")
    out = raws(held.take(b"".join(cut), length)) + raws(emptied(held))
    assert Counter(out) == Counter(cut)


def test_an_uncorrected_error_is_handed_back_at_once() -> None:
    held = Aggregation("s")
    error = uncorrected().pack()
    (found,) = held.take(packed(mce(at) for at in range(50)) + error + packed(mce(at) for at in range(50)), LONG)
    assert found.raw == error and held.held == 100


def test_a_count_above_63_makes_no_intel_error_press() -> None:
    # Bit 44 is AMD's Deferred; on Intel it belongs to the count of corrected errors.
    many = mce(status=CORRECTED | 1 << 44)
    assert not Aggregation("s").take(packed([many, many]), LONG)


def test_a_deferred_error_of_amd_presses() -> None:
    deferred = amd(status=0x9C20_5000_0000_011B | 1 << 44)
    assert len(Aggregation("s").take(packed([amd(), deferred]), LONG)) == 1


def test_what_no_kernel_writes_is_unrecognised_and_not_an_error() -> None:
    (found,) = Aggregation("s").take(b"\xff" * LONG, LONG)
    assert isinstance(found, Unrecognised)


def test_one_report_alone_is_a_record_like_any_other() -> None:
    held = Aggregation("s")
    held.take(mce().pack(), LONG)
    (found,) = held.release()
    assert isinstance(found, Record) and found.raw == mce().pack()


def test_a_storm_of_one_cell_is_one_thing() -> None:
    held = Aggregation("s")
    held.take(packed(mce(at, addr=0x2_0000_0000 + at * 64) for at in range(300)), LONG)
    (found,) = held.release()
    assert isinstance(found, Repeats)
    assert found.reports == 300 and found.alike
    assert found.addresses == [0x2_0000_0000 + at * 64 for at in range(300)]


def test_no_more_is_released_at_a_time_than_an_uncorrected_error_may_wait_for() -> None:
    held = Aggregation("s")
    storm = mce().pack() * (aggregation.RELEASED_STRUCTS + 10)
    held.take(storm, LONG)
    assert [len(raws(held.release())) for _ in range(3)] == [aggregation.RELEASED_STRUCTS, 10, 0]


def test_it_says_when_it_is_full() -> None:
    held = Aggregation("s")
    chunk = mce().pack() * 4096
    for _ in range(aggregation.HELD_STRUCTS // 4096):
        assert not held.is_full
        held.take(chunk, LONG)
    assert held.is_full
    held.release()
    assert not held.is_full


def test_kinds_without_end_are_bounded() -> None:
    held = Aggregation("s")
    held.take(packed(mce(status=CORRECTED & ~0xFFFF | at) for at in range(1, 200)), LONG)
    assert held.is_full
    assert len(held.release()) <= 200


@pytest.mark.parametrize("damaged", [b"", b"no zlib", zlib.compress(b"short"), zlib.compress(bytes(LONG + 1))])
def test_packed_reports_that_are_damaged_say_so(damaged: bytes) -> None:
    with pytest.raises(FormatError):
        unpacked(damaged, LONG, 1)


def test_packed_reports_come_back_as_they_were() -> None:
    held = Aggregation("s")
    storm = packed(mce(at) for at in range(9))
    held.take(storm, LONG)
    (found,) = held.release()
    assert isinstance(found, Repeats)
    assert unpacked(found.packed, LONG, 9) == storm
    assert found.last_s == 1_790_000_000


def test_what_presses_is_told_by_bits_or_by_the_word_of_the_source() -> None:
    held = Aggregation("s")
    (found,) = held.take(uncorrected().pack(), LONG)
    assert isinstance(found, Record) and may_be_uncorrected(found)


def test_what_comes_often_is_a_storm_though_one_comes_at_a_time() -> None:
    now = [0.0]
    held = Aggregation("s", now_s=lambda: now[0])

    def one(at: int) -> Record | Repeats:
        held.take(mce(at).pack(), LONG)
        (found,) = held.release()
        return found

    kinds = [type(one(at)) for at in range(aggregation.SINGLES_AT_ONCE + 5)]
    assert kinds == [Record] * aggregation.SINGLES_AT_ONCE + [Repeats] * 5
    now[0] += 1.0 / aggregation.SINGLES_A_SECOND
    assert [type(one(at)) for at in range(2)] == [Record, Repeats]
