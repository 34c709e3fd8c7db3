"""The kernel logs that pstore keeps over a crash."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.errors import FormatError
from ringfence.record.binary import detect, pstore, read
from ringfence.record.binary.pstore import PstoreName, PstoreText, inflate, parse_name, read_text
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import Format, Origin, Record

FILE = Origin("dmesg-erst-1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mce-erst-7054098214223806465", PstoreName("mce", "erst", 7054098214223806465, False)),
        ("dmesg-efi-166724416701001", PstoreName("dmesg", "efi", 166724416701001, False)),
        ("dmesg-efi_pstore-166724416701001", PstoreName("dmesg", "efi_pstore", 166724416701001, False)),
        ("dmesg-ramoops-0.enc.z", PstoreName("dmesg", "ramoops", 0, True)),
        ("console-ramoops-0", PstoreName("console", "ramoops", 0, False)),
    ],
)
def test_file_names_of_pstore_are_taken_apart(name: str, expected: PstoreName) -> None:
    assert parse_name(name) == expected


@pytest.mark.parametrize("name", ["dmesg", "dmesg-1", "mce-log.txt", "kern.log", "xdmesg-erst-1", "dmesg-erst-1.gz"])
def test_other_names_are_not_pstores(name: str) -> None:
    assert parse_name(name) is None


def test_an_efi_variable_has_its_time_in_its_number_and_others_have_none() -> None:
    # drivers/firmware/efi/efi-pstore.c, generic_id: (time * 100 + part) * 1000 + count
    name = parse_name(f"dmesg-efi-{(1667244167 * 100 + 3) * 1000 + 1}")
    assert name is not None
    assert name.time == 1667244167.0
    other = parse_name("dmesg-erst-166724416703001")
    assert other is not None
    assert other.time is None


def test_a_part_is_read_without_the_header_that_pstore_put_before_it() -> None:
    assert read_text(b"Oops#2 Part3\nBUG: bad\n", FILE, 5.0) == PstoreText(
        origin=FILE, text=b"BUG: bad\n", reason="Oops", count=2, part=3, time=5.0
    )


def test_a_ramoops_header_gives_the_time() -> None:
    text = read_text(b"====1667244167.500000-D\nPanic#1 Part1\nlast words\n", FILE)
    assert (text.time, text.text, text.part) == (1667244167.5, b"last words\n", 1)


def test_text_without_any_header_is_all_text() -> None:
    assert read_text(b"just a line\n", FILE) == PstoreText(origin=FILE, text=b"just a line\n")


def test_a_compressed_ramoops_record_is_an_error_not_a_guess() -> None:
    with pytest.raises(FormatError, match="compressed"):
        read_text(b"====1667244167.500000-C\n\x78\x9c...", FILE)


@given(st.binary(max_size=2000), st.sampled_from([15, 12, -11, -15]))
def test_a_part_compressed_by_any_age_of_linux_is_read(body: bytes, window_bits: int) -> None:
    text = b"Panic#1 Part1\n" + body
    packer = zlib.compressobj(wbits=window_bits)
    assert inflate(packer.compress(text) + packer.flush()) == text


def test_a_compression_bomb_is_refused() -> None:
    with pytest.raises(FormatError, match="too large"):
        inflate(zlib.compress(b"Panic#1 Part1\n" + bytes(pstore.MAX_TEXT_BYTES)))


@given(st.binary(max_size=300))
def test_damaged_compressed_parts_are_a_format_error(blob: bytes) -> None:
    whole = zlib.compress(b"Panic#1 Part1\n" + blob)
    with pytest.raises(FormatError):
        inflate(whole[:-5])


@given(st.binary(max_size=300))
def test_any_bytes_make_a_text_or_a_format_error(blob: bytes) -> None:
    for content in (blob, b"====1.1-D\n" + blob, b"Oops#1 Part1\n" + blob):
        assert blob.endswith(read_text(content, FILE).text[-len(blob) :] if blob else b"")


def test_a_mce_file_of_pstore_is_a_struct_mce() -> None:
    # Seen on Debian 13 after a fatal error under Xen 4.20.3: 88 bytes each, MCi_STATUS first.
    blob = StructMce(status=0xBE00000000800400, mcgstatus=4, bank=2, cpuid=0x106A3, cpuvendor=1).pack(88)
    name = "/sys/fs/pstore/mce-erst-7054098214223806465"
    assert detect(blob, name, len(blob)) is Format.STRUCT_MCE
    (record,) = read(Format.STRUCT_MCE, blob, name)
    assert isinstance(record, Record)
    assert record.registers.status == 0xBE00000000800400
