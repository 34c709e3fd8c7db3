"""Damaged evidence never crashes anything, and no record ever says what did not stand in it.

    RINGFENCE_FUZZ_LINES=1000000 .venv/bin/pytest -n auto tests/record/test_fuzz.py

runs the million, in about four minutes of one core; without the variable it is a sample. The same number gives the
same damage.
"""

from __future__ import annotations

import os
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Final

import jsonschema
import msgspec
import pytest

from ringfence.arch.mci_status import ADDRV, MISCV
from ringfence.diagnosis.finding import Event, events
from ringfence.record import binary
from ringfence.record.evidence import Evidence, Format, Lull, Record, Registers, Unrecognised
from ringfence.record.text.assemble import Piece, assemble
from ringfence.record.text.lines import RawLine
from ringfence.record.text.mce_inject import MCG_WORDS, STATUS_WORDS
from ringfence.record.text.reader import GRAMMARS, pieces
from ringfence.views import jsonl, registers, text
from tests.record.mutations import SEEDS, Lines, damaged_blobs, damaged_logs

LINES: Final = int(os.environ.get("RINGFENCE_FUZZ_LINES", "60000"))
"""How many damaged lines; a line counts if no undamaged log has it."""
CASES: Final = 20
"""The lines are split into so many cases, each with a seed of its own, so that several processes can share them."""
LINES_PER_BLOB: Final = 15


def numbered(lines: Lines) -> Iterator[RawLine]:
    return (RawLine(number, line) for number, line in enumerate(lines, start=1))


# --- what a record says must stand in its lines ----------------------------------------------------------------------

_RUN = re.compile(r"[0-9a-fA-F]+")
_LETTER = re.compile(r"^[a-fA-F]")
_LETTERS = re.compile(r"^[a-fA-F]+")
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_OCTAL = re.compile(r"0[0-7]+")
_MAIL = re.compile(rb"=[ \t]*\r?\n")
_MAIL_BYTE = re.compile(rb"=([0-9A-F]{2})")
_HALVES = re.compile(r"\b([0-9A-F]{8}) (?=[0-9A-F]{8}\b)")
_WRAPPED = re.compile(r"([0-9a-fA-F]{1,16})[^\S\n]*\n[>\s]*(?=([0-9a-fA-F]{1,16})\b)")
LONGEST_NUMBER: Final = 40
"""No register has as many digits, with as many zeros before them as any log prints."""
_SMCA_BASE: Final = 0xC000_2000
_EXTENDED_BANKS: Final = {"THERMAL EVENT": 128, "Timeout waiting": 218, "ACPI/APEI reported": 255}


def ascii_digits(line: str) -> str:
    """The line with the decimal digits of every script as ASCII ones."""
    if line.isascii():
        return line
    return "".join(str(digit) if (digit := unicodedata.decimal(mark, -1)) >= 0 else mark for mark in line)


def standing_numbers(raw: bytes) -> set[int]:
    """Every number that stands in the lines: as hexadecimal or decimal digits, behind a letter or not, or wrapped."""
    joined = _MAIL.sub(b"", raw)
    unwrapped = _MAIL_BYTE.sub(lambda match: bytes([int(match[1], 16)]), joined)
    forms: set[str] = set()
    for source in {raw, joined, unwrapped}:
        shown = ascii_digits(source.decode("utf-8", "replace"))
        # A register's halves may be parted by an apostrophe, a blank, or the end of a line of a narrow screen.
        forms |= {shown, shown.replace("'", ""), _HALVES.sub(r"\1", shown)}
        forms |= {"\n".join("".join(halves) for halves in _WRAPPED.findall(shown))}
    found: set[int] = set()
    for run in {run for form in forms for run in _RUN.findall(form)}:
        for digits in {run, _LETTER.sub("", run), _LETTERS.sub("", run)} if run[0] in "abcdefABCDEF" else {run}:
            if digits and len(digits) <= LONGEST_NUMBER:
                found.add(int(digits, 16))
                if _OCTAL.fullmatch(digits):
                    found.add(int(digits, 8))
                if digits.isdecimal():
                    found.add(int(digits))
    return found


def excused(name: str, value: int, record: Record, standing: set[int]) -> bool:
    """Numbers that a source does not print as they are: each by the rule of its format."""
    if any(assumption.startswith(f"{'CPU' if name == 'cpu' else name} {value}: ") for assumption in record.assumptions):
        return True
    if name == "bank" and record.format is Format.MCELOG:
        return any(
            text.encode() in _MAIL.sub(b"", record.raw) and bank == value for text, bank in _EXTENDED_BANKS.items()
        )
    if name == "bank" and record.format is Format.GHES:
        return _SMCA_BASE + 16 * value + 1 in standing
    if record.format is Format.MCE_INJECT and name in {"status", "mcg_status"}:
        words = set(re.findall(r"[A-Z_]+", _COLOUR.sub(b" ", record.raw).decode("utf-8", "replace").upper()))
        named = ADDRV.mask | MISCV.mask
        for word, bits in {**STATUS_WORDS, **MCG_WORDS}.items():
            named |= bits if word in words else 0
        return any(value & ~named == number & ~named for number in standing | {0})
    return False


def invented(record: Record) -> list[str]:
    """The numbers of a record that do not stand in its lines."""
    standing = standing_numbers(record.raw)
    said = {part.name: getattr(record.registers, part.name) for part in fields(Registers)}
    said |= {"bank": record.bank, "cpu": record.cpu, "socket": record.socket, "apicid": record.apicid}
    return [
        f"{name} {value:#x}"
        for name, value in said.items()
        if value is not None and value not in standing and not excused(name, value, record, standing)
    ]


# --- no line is lost, and none is used twice -------------------------------------------------------------------------


def must_be_kept(piece: Piece) -> bool:
    """Whether a line is evidence: it promises some, or it gives a register, a place, or begins a record."""
    fragment = piece.fragment
    if fragment is None:
        return True
    if (
        fragment.part in {"known", "boundary", "context"}
        or fragment.needs is not None
        or fragment.values.get("count") == 0
    ):
        return False
    if fragment.format is Format.MCELOG_CLIENT:
        return False  # a block whose total is 0 says that there was no error
    return bool(fragment.opens or fragment.registers or fragment.memory is not None)


def check_lines(lines: Lines, found: list[Evidence], read: list[Piece]) -> None:
    kept = Counter(line for item in found for line in item.raw.split(b"\n"))
    there = Counter(lines)
    strange = [line for line in kept if line not in there]
    assert not strange, "a raw line is no line of the input"
    shared = Counter(
        line
        for piece in read
        if piece.fragment is not None and piece.fragment.part == "context"
        for line in piece.line.raw.split(b"\n")
    )
    twice = [line for line, times in kept.items() if times > there[line] and line not in shared]
    assert not twice, "a line is in two records"
    lost = [
        piece for piece in read if must_be_kept(piece) and any(not kept[raw] for raw in piece.line.raw.split(b"\n"))
    ]
    assert not lost, "evidence is in no record"


# --- views -----------------------------------------------------------------------------------------------------------

_VALIDATOR = jsonschema.Draft202012Validator(jsonl.schema())
_LINE: Final = jsonl.FindingLine | jsonl.UnrecognisedLine
_MARKS = "".join(chr(0xE000 + place) for place in range(len(text.SLOTS)))
_UNSEEMLY = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069{_MARKS}]")
"""Control characters, direction marks, and what a view itself puts where a value will go."""
VALIDATED: Final = 50
"""One of so many JSON lines is held against the schema; all are decoded into the types that the schema comes from."""


def check_views(found: list[Event | Unrecognised]) -> int:
    for item in found:
        if isinstance(item, Unrecognised):
            shown, line = text.unrecognised_text(item), jsonl.encode(jsonl.unrecognised_line(item))
            msgspec.json.decode(line, type=jsonl.UnrecognisedLine)
        else:
            shown = text.event_text(item) + registers.registers_text(item.finding)
            line = jsonl.encode(jsonl.line(item))
            msgspec.json.decode(line, type=jsonl.FindingLine)
        unseemly = _UNSEEMLY.search(shown)
        assert unseemly is None, (unseemly, shown)
        if zlib.crc32(line) % VALIDATED == 0:
            _VALIDATOR.validate(msgspec.json.decode(line))
    return len(found)


# --- the runs --------------------------------------------------------------------------------------------------------


def test_the_seeds_hold_every_textual_format() -> None:
    seen = {
        piece.fragment.format
        for seed in SEEDS
        for piece in pieces(numbered(seed.encode().splitlines()))
        if piece.fragment is not None and (piece.fragment.part != "known" or piece.fragment.format is Format.MCE_INJECT)
    }
    assert seen == {grammar.format for grammar in GRAMMARS}


@pytest.mark.parametrize("case", range(CASES))
def test_damaged_logs_never_crash_and_nothing_is_invented_or_lost(case: int) -> None:
    shown = 0
    for log in damaged_logs(case, LINES // CASES):
        read = list(pieces(numbered(log)))
        found = [item for item in assemble(read, "log") if not isinstance(item, Lull)]
        check_lines(log, found, read)
        for item in found:
            assert not isinstance(item, Record) or not invented(item), (invented(item), item)
        shown += check_views(list(events(found)))
    assert shown > LINES // CASES // 10


@pytest.mark.parametrize("case", range(CASES))
def test_damaged_blobs_never_crash_and_nothing_is_invented(case: int) -> None:
    forms: set[Format | None] = set()
    for form, blob in damaged_blobs(case, LINES // CASES // LINES_PER_BLOB):
        told = binary.detect(blob[: binary.HEAD_BYTES], "file", len(blob))
        forms.add(told)
        for reader in {form, told} - {None}:
            assert reader is not None
            found = [item for item in binary.read(reader, blob, "file") if isinstance(item, Record | Unrecognised)]
            for item in found:
                if isinstance(item, Record) and item.registers.status is not None:
                    assert item.registers.status.to_bytes(8, "little") in item.raw
            check_views(list(events(found)))
    assert len(forms) > 2
