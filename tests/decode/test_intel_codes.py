"""MCA error codes: every 16-bit value has one kind, and reads as the SDM says."""

from __future__ import annotations

from collections import Counter

import pytest

from ringfence.decode.intel import (
    Code,
    CodeKind,
    Level,
    MemoryTransaction,
    Participation,
    Target,
    Transaction,
    classify,
)

EVERY_CODE = range(1 << 16)
F = 1 << 12


def form(pattern: str) -> tuple[int, int]:
    """Mask and value of the SDM's form: 0 and 1 as they stand, any letter is free."""
    bits = pattern.replace(" ", "")
    return int("".join("1" if bit in "01" else "0" for bit in bits), 2), int(
        "".join("1" if bit == "1" else "0" for bit in bits), 2
    )


# SDM vol. 3B 17.9.1 and 17.9.2, as printed. The internal unclassified form wants one of the x to be 1.
FORMS = {
    CodeKind.NO_ERROR: "000F 0000 0000 0000",
    CodeKind.UNCLASSIFIED: "000F 0000 0000 0001",
    CodeKind.MICROCODE_ROM_PARITY: "000F 0000 0000 0010",
    CodeKind.EXTERNAL: "000F 0000 0000 0011",
    CodeKind.FRC: "000F 0000 0000 0100",
    CodeKind.INTERNAL_PARITY: "000F 0000 0000 0101",
    CodeKind.SMM_CODE_ACCESS: "000F 0000 0000 0110",
    CodeKind.INTERNAL_TIMER: "000F 0100 0000 0000",
    CodeKind.IO: "000F 1110 0000 1011",
    CodeKind.INTERNAL_UNCLASSIFIED: "000F 01xx xxxx xxxx",
    CodeKind.GENERIC_CACHE: "000F 0000 0000 11LL",
    CodeKind.TLB: "000F 0000 0001 TTLL",
    CodeKind.MEMORY: "000F 0000 1MMM CCCC",
    CodeKind.CACHE: "000F 0001 RRRR TTLL",
    CodeKind.EXTENDED_MEMORY: "000F 0010 1MMM CCCC",
    CodeKind.BUS: "000F 1PPT RRRR IILL",
}


def test_every_code_has_the_kind_of_the_first_form_that_it_matches() -> None:
    forms = [(kind, *form(pattern)) for kind, pattern in FORMS.items()]
    for value in EVERY_CODE:
        expected = next((kind for kind, mask, wanted in forms if value & mask == wanted), CodeKind.UNKNOWN)
        assert classify(value).kind is expected, hex(value)


def test_the_kinds_share_out_the_codes_without_a_gap() -> None:
    counts = Counter(classify(value).kind for value in EVERY_CODE)
    assert counts == {
        **dict.fromkeys(list(FORMS)[:9], 2),
        CodeKind.INTERNAL_UNCLASSIFIED: 2 * 1023,
        CodeKind.GENERIC_CACHE: 2 * 4,
        CodeKind.TLB: 2 * 16,
        CodeKind.MEMORY: 2 * 128,
        CodeKind.CACHE: 2 * 256,
        CodeKind.EXTENDED_MEMORY: 2 * 128,
        CodeKind.BUS: 2 * 2047,
        CodeKind.UNKNOWN: 65536 - 2 * (9 + 1023 + 4 + 16 + 128 + 256 + 128 + 2047),
    }


def test_the_filtering_bit_changes_neither_kind_nor_fields() -> None:
    for value in range(F):
        bare, filtered = classify(value), classify(value | F)
        assert (filtered.filtered, bare.filtered) == (True, False)
        assert filtered.base == bare.base == value
        for name in Code.__slots__:
            if name != "value":
                assert getattr(bare, name) == getattr(filtered, name)


def test_every_code_reads_as_a_phrase() -> None:
    assert all(classify(value).phrase.strip() for value in EVERY_CODE)


def test_an_unknown_code_is_said_to_be_unknown() -> None:
    assert classify(0x2000).phrase == "Unknown MCA error code 0x2000"


def test_a_code_has_sixteen_bits() -> None:
    with pytest.raises(ValueError, match="16 bits"):
        classify(0x10000)


@pytest.mark.parametrize(
    ("value", "phrase"),
    [
        (0x0005, "Internal parity error"),
        (0x0400, "Internal timer error"),
        (0x0405, "Internal unclassified error 0x0405"),
        (0x0E0B, "Generic I/O error"),
        (0x000F, "Cache hierarchy error, generic level"),
        (0x0015, "Data TLB error, level 1"),
        (0x0090, "Memory read error on channel 0"),
        (0x009F, "Memory read error, channel not specified"),
        (0x00B2, "Memory address/command error on channel 2"),
        (0x00C1, "Memory scrubbing error on channel 1"),
        (0x00F0, "Memory controller error (reserved transaction 7) on channel 0"),
        (0x0134, "Data cache error, level 0, data read"),
        (0x0150, "Instruction cache error, level 0, instruction fetch"),
        (0x017A, "Generic cache error, level 2, eviction"),
        (0x01F8, "Generic cache error, level 0, reserved request 15"),
        (0x110A, "Generic cache error, level 2, generic request"),
        (0x0290, "Memory read error on channel 0, in memory used as a cache"),
        (
            0x0800,
            "Bus or interconnect error, level 0: generic request, memory, request of this processor, no timeout",
        ),
        (
            0x0F0F,
            "Bus or interconnect error, generic level: generic request, other transaction, participation not said, "
            "timed out",
        ),
    ],
)
def test_phrases(value: int, phrase: str) -> None:
    assert classify(value).phrase == phrase


def test_the_fields_of_a_compound_code() -> None:
    bus = classify(0x0D3A)
    assert (bus.participation, bus.timed_out, bus.request) == (Participation.OBSERVER, True, 3)
    assert (bus.target, bus.level) == (Target.IO, Level.L2)
    cache = classify(0x0135)
    assert (cache.transaction, cache.level, cache.request) == (Transaction.DATA, Level.L1, 3)
    scrub = classify(0x00C3)
    assert (scrub.memory, scrub.channel, scrub.is_scrubbing) == (MemoryTransaction.SCRUBBING, 3, True)
    assert classify(0x02C3).is_memory
    assert not classify(0x02C3).is_scrubbing
