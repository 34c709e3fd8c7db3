"""Telling the binary forms of evidence from one another and from everything else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.record.binary import HEAD_BYTES, READERS, cper, detect, guids, read
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.binary.xen_mc_info import McInfo, McInfoBank, McInfoGlobal
from ringfence.record.evidence import Evidence, Format, Origin, Record, Registers, Unrecognised
from ringfence.record.reader import read as read_source
from ringfence.record.sources import Source

MACHINE_CHECK = StructMce(status=0xBD000000000000C0, addr=0x1000, misc=0x8C, mcgstatus=5, bank=5, cpuid=0x306F2)
RECORD = Record(
    origin=Origin("-"), format=Format.TYPED, raw=b"", registers=Registers(status=0xBD000000000000C0), bank=5
)
BERT = (
    bytes(12)
    + (72 + 80).to_bytes(4, "little")
    + (1).to_bytes(4, "little")
    + guids.PLATFORM_MEMORY.bytes_le
    + (1).to_bytes(4, "little")
    + (0x300).to_bytes(2, "little")
    + bytes(2)
    + (80).to_bytes(4, "little")
    + bytes(36 + 8 + 80)
)
SAMPLES = {
    Format.STRUCT_MCE: MACHINE_CHECK.pack(88) * 3,
    Format.XEN_MC_INFO: McInfo(entries=(McInfoGlobal(), McInfoBank(bank=5, status=1 << 63))).pack() * 20,
    Format.CPER: cper.write(RECORD),
    Format.GHES_BLOCK: BERT,
}


@pytest.mark.parametrize("form", SAMPLES)
def test_each_form_is_told_by_its_content_whatever_its_name(form: Format) -> None:
    blob = SAMPLES[form]
    for name in ("saved.bin", "a/b/c", ""):
        assert detect(blob[:HEAD_BYTES], name, len(blob)) is form
    evidence = list(read(form, blob, "saved.bin"))
    assert evidence
    assert all(isinstance(item, Record) for item in evidence)


def test_a_database_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "ras.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mce_record (status INTEGER)")
    blob = path.read_bytes()
    assert detect(blob[:HEAD_BYTES], "ras.db", len(blob)) is Format.RASDAEMON_DB
    assert list(read(Format.RASDAEMON_DB, blob, "ras.db")) == []


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=500))
def test_text_is_never_taken_for_a_binary_form(text: str) -> None:
    blob = text.encode()
    assert detect(blob, "dmesg.txt", len(blob)) is None


@pytest.mark.parametrize("head", [b"\x1f\x8b\x08\x00" + bytes(100), b"\x7fELF\x02\x01\x01" + bytes(200), bytes(4096)])
def test_other_binary_files_are_not_taken_for_evidence(head: bytes) -> None:
    assert detect(head, "file", len(head)) is None


def _read(path: Path, content: bytes) -> list[Evidence]:
    path.write_bytes(content)
    return list(read_source(Source(str(path), path, len(content))))


@pytest.mark.parametrize("length", [72, 87, 200, 255])
def test_a_cut_dump_of_struct_mce_is_shown_not_passed_over(tmp_path: Path, length: int) -> None:
    one = StructMce(status=0x8C00004000010090, addr=0x1000, misc=0x86, time=1_600_000_000, cpuid=0x50657, finished=1)
    whole = one.pack(128) * 2
    found = _read(tmp_path / "dump", whole[:length])
    if length == 72:
        assert all(isinstance(item, Record) for item in found)  # it is a whole one of the oldest kernels' form
    else:
        assert isinstance(found[-1], Unrecognised)


def test_the_tail_of_a_dump_that_is_shorter_than_its_records_is_shown(tmp_path: Path) -> None:
    one = StructMce(status=0x8C00004000010090, addr=0x1000, misc=0x86, time=1_600_000_000, cpuid=0x50657, finished=1)
    *whole, tail = _read(tmp_path / "dump", (one.pack(128) * 3)[:300])
    assert [type(item) for item in whole] == [Record, Record]
    assert isinstance(tail, Unrecognised)
    assert tail.raw == one.pack(128)[:44]


@pytest.mark.parametrize(
    "damaged", [b"CPER\x01\x01", b"CPER\x00\x01" + bytes(100), b"CPER\x01\x01\xff\x00\xff\xffrest"]
)
def test_a_cper_record_with_a_damaged_header_is_shown_not_passed_over(tmp_path: Path, damaged: bytes) -> None:
    (found,) = _read(tmp_path / "dump", damaged)
    assert isinstance(found, Unrecognised)


@pytest.mark.parametrize("log", [b"CPER is an error format\n" + bytes(50), bytes(300) + b"usb 1-1: new device\n"])
def test_a_log_with_runs_of_nuls_holds_no_damaged_dump(tmp_path: Path, log: bytes) -> None:
    assert _read(tmp_path / "messages", log) == []


@pytest.mark.parametrize("form", sorted(READERS))
@pytest.mark.parametrize("other", SAMPLES)
def test_a_reader_given_another_forms_bytes_shows_them_and_does_not_raise(form: Format, other: Format) -> None:
    evidence = list(read(form, SAMPLES[other], "x"))
    assert evidence
    if form is not other:
        assert all(isinstance(item, Unrecognised) for item in evidence)


def test_a_textual_format_has_no_binary_reader() -> None:
    with pytest.raises(KeyError):
        read(Format.PRINTK, b"", "x")
