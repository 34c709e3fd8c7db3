"""AMD's error codes: all 16 bits, without a gap and without an overlap."""

from __future__ import annotations

from collections import Counter

import pytest

from ringfence.decode.amd.codes import (
    Code,
    CodeKind,
    Level,
    Participation,
    Request,
    Space,
    Transaction,
    error_code,
)

ALL = range(0x10000)


def forms(raw: int) -> list[CodeKind]:
    """The classes by the bit patterns of APM vol. 2 9.3.2.2, as text: another way to the same answer."""
    bits = f"{raw:016b}"
    found = []
    if bits.startswith("000000000001"):
        found.append(CodeKind.TLB)
    if bits.startswith("00000001"):
        found.append(CodeKind.MEMORY)
    if bits.startswith("00001"):
        found.append(CodeKind.BUS)
    if bits.startswith("000001") and bits.endswith("00000000"):
        found.append(CodeKind.INTERNAL)
    return found


def test_every_code_is_of_exactly_one_class() -> None:
    for raw in ALL:
        code = error_code(raw)
        assert [code.kind] == (forms(raw) or [CodeKind.UNKNOWN])
        assert code.raw == raw
        assert code.phrase


def test_the_classes_are_as_large_as_their_free_bits_say() -> None:
    sizes = Counter(error_code(raw).kind for raw in ALL)
    assert sizes[CodeKind.TLB] == 1 << 4
    assert sizes[CodeKind.MEMORY] == 1 << 8
    assert sizes[CodeKind.BUS] == 1 << 11
    assert sizes[CodeKind.INTERNAL] == 1 << 2
    assert sizes[CodeKind.UNKNOWN] == 0x10000 - 16 - 256 - 2048 - 4


def test_parts_can_be_put_back_to_the_code() -> None:
    transactions, levels = list(Transaction), list(Level)
    requests, participations, spaces = list(Request), list(Participation), list(Space)

    def joined(code: Code) -> int:
        level = 0 if code.level is None else levels.index(code.level)
        request = 0 if code.request is None else requests.index(code.request)
        match code.kind:
            case CodeKind.TLB:
                assert code.transaction is not None
                return 0x10 | transactions.index(code.transaction) << 2 | level
            case CodeKind.MEMORY:
                assert code.transaction is not None
                return 0x100 | request << 4 | transactions.index(code.transaction) << 2 | level
            case CodeKind.BUS:
                assert code.participation is not None
                assert code.space is not None
                who, where = participations.index(code.participation), spaces.index(code.space)
                return 0x800 | who << 9 | bool(code.timed_out) << 8 | request << 4 | where << 2 | level
            case _:
                return code.raw

    for raw in ALL:
        code = error_code(raw)
        if code.request is Request.RESERVED:
            assert raw >> 4 & 0xF >= 9
        else:
            assert joined(code) == raw


@pytest.mark.parametrize("raw", [0x0C00, 0x0D00, 0x0E00, 0x0F00])
def test_bus_errors_with_a_low_byte_of_zero_are_no_internal_errors(raw: int) -> None:
    # Linux's INT_ERROR ignores bit 11, and so claims them (drivers/edac/mce_amd.h).
    assert error_code(raw).kind is CodeKind.BUS


@pytest.mark.parametrize(
    ("raw", "phrase"),
    [
        (0x0015, "TLB error: data, L1"),
        (0x0135, "memory (cache) error: data read, data, L1"),
        (0x017A, "memory (cache) error: eviction, generic, L2"),
        (
            0x0A13,
            "bus error: generic read, memory, generic level (L3, or none); this node responded to the request, "
            "no timeout",
        ),
        (
            0x0F0F,
            "bus error: generic access, generic space, generic level (L3, or none); generic participation, "
            "the request timed out",
        ),
        (0x0600, "internal error: hardware assertion"),
        (0x0500, "internal error: unclassified (UU=01, reserved)"),
        (0x0000, "error code 0x0000 is none that AMD defines"),
        (0x0134 | 0x1000, "error code 0x1134 is none that AMD defines"),  # bit 12 filters reports on Intel only
    ],
)
def test_phrases(raw: int, phrase: str) -> None:
    assert error_code(raw).phrase == phrase


def test_wider_values_are_refused() -> None:
    with pytest.raises(ValueError, match="not a 16-bit"):
        error_code(0x10000)
