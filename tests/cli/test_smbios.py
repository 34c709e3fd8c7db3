"""DIMMs named by an SMBIOS table, as the user of the decode command and of the API sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ringfence import api
from ringfence.cli import decode as decode_module
from ringfence.cli.main import main
from ringfence.record import sources
from ringfence.record.binary import cper, smbios
from ringfence.record.evidence import ClaimedSeverity, Format, Location, MemoryReport, Origin, Record
from tests.record.smbios_tables import BOARD, END_OF_TABLE, dump_64, memory_device

HANDLE = 0x1100
NAMED = "P1-DIMMA1"
MODULE = "by it the socket holds Samsung, M393A2K40CB2-CTD, serial number 12345678, 16 GiB"


def error_record(handle: int | None = HANDLE, label: str | None = None) -> bytes:
    """What firmware leaves of a memory error: a CPER record with the module's handle (UEFI 2.10 N.2.5)."""
    report = MemoryReport(
        severity=ClaimedSeverity.CORRECTED,
        error="single-bit ECC",
        location=Location(node=0, card=1, module=0, label=label),
        physical_address=0x1234567000,
        module_handle=handle,
    )
    return cper.write(Record(origin=Origin("-"), format=Format.CPER, raw=b"", memory=report))


Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    return written


@pytest.fixture
def here(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose table is BOARD and whose pstore is the folder that is returned."""
    monkeypatch.setattr(smbios, "TABLE_FILE", str(write("DMI", BOARD)))
    pstore = tmp_path / "pstore"
    pstore.mkdir()
    monkeypatch.setattr(sources, "OWN_PLACES", (str(pstore),))
    return pstore


def decode(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["decode", *map(str, arguments)])


def label(result: Result) -> str | None:
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    said = shown["location"].get("label")
    assert said is None or isinstance(said, str)
    return said


# --- which table, for which evidence ---------------------------------------------------------------------------------


def test_what_this_machine_itself_left_is_named_by_its_own_table(here: Path, write: Write) -> None:
    left = write("pstore/mce-erst-1", error_record())
    result = decode("--json", left)
    assert label(result) == NAMED
    assert json.loads(result.stdout)["assumptions"][-1] == (
        f"DIMM: SMBIOS handle 0x1100 is {NAMED} in this machine's SMBIOS table; {MODULE}"
    )


def test_evidence_from_elsewhere_never_gets_this_machines_names(here: Path, write: Write) -> None:
    assert label(decode("--json", write("sent.cper", error_record()))) is None
    assert not sources.is_of_this_machine(sources.Source(sources.STDIN, None, None))


def test_a_link_does_not_make_foreign_evidence_this_machines_nor_own_evidence_foreign(here: Path, write: Write) -> None:
    foreign = write("sent.cper", error_record())
    (here / "mce-erst-2").symlink_to(foreign)
    assert label(decode("--json", here / "mce-erst-2")) is None
    own = write("pstore/mce-erst-1", error_record())
    (foreign.parent / "link").symlink_to(own)
    assert label(decode("--json", foreign.parent / "link")) == NAMED


def test_in_one_run_only_this_machines_own_evidence_is_named(here: Path, write: Write) -> None:
    foreign, own = write("sent.cper", error_record()), write("pstore/mce-erst-1", error_record())
    shown = [json.loads(line) for line in decode("--json", foreign, own).stdout.splitlines()]
    assert [line["location"].get("label") for line in shown] == [None, NAMED]


def test_the_user_can_say_that_the_evidence_is_of_this_machine(here: Path, write: Write) -> None:
    assert label(decode("--json", "--smbios", "here", write("copied.cper", error_record()))) == NAMED


def test_the_user_can_forbid_names(here: Path, write: Write) -> None:
    assert label(decode("--json", "--smbios", "none", write("pstore/mce-erst-1", error_record()))) is None


@pytest.mark.parametrize("table", [BOARD, dump_64(BOARD)], ids=["the table", "dmidecode --dump-bin"])
def test_the_user_can_give_the_other_machines_table(write: Write, table: bytes) -> None:
    result = decode("--json", "--smbios", write("table.bin", table), write("sent.cper", error_record()))
    assert label(result) == NAMED


@pytest.mark.parametrize("broken", [None, BOARD[:100]], ids=["absent", "broken"])
def test_without_a_good_table_evidence_is_decoded_unnamed_and_an_explicit_wish_is_refused(
    here: Path, write: Write, broken: bytes | None
) -> None:
    table = Path(smbios.TABLE_FILE)
    if broken is None:
        table.unlink()
    else:
        table.write_bytes(broken)
    left = write("pstore/mce-erst-1", error_record())
    assert label(decode("--json", left)) is None
    for choice in ("here", str(table)):
        refused = decode("--smbios", choice, left)
        assert refused.exit_code == 2
        assert "--smbios" in refused.stderr
        assert str(table) in refused.stderr


# --- what is named ---------------------------------------------------------------------------------------------------


def test_people_read_the_name_first_and_what_it_rests_on(write: Write) -> None:
    table, log = write("table.bin", BOARD), write("sent.cper", error_record())
    shown = decode("--smbios", table, log).stdout
    assert shown.splitlines()[0].endswith(f"reported by memory, as firmware reports it, {NAMED}")
    assert f"  where        {NAMED}: node 0, card 1, module 0\n" in shown
    assert "SMBIOS module handle 0x1100" in shown


def test_the_name_that_the_source_itself_gives_is_kept(write: Write) -> None:
    table, log = write("table.bin", BOARD), write("sent.cper", error_record(label="DIMM 3B"))
    result = decode("--json", "--smbios", table, log)
    assert label(result) == "DIMM 3B"
    assert f"SMBIOS handle 0x1100 is {NAMED}" in result.stdout


def test_a_socket_that_is_empty_by_now_is_named_all_the_same(write: Write) -> None:
    table, log = write("table.bin", BOARD), write("sent.cper", error_record(0x1101))
    result = decode("--json", "--smbios", table, log)
    assert label(result) == "P1-DIMMA2"
    assert "the socket is empty by it" in result.stdout


def test_sockets_of_one_name_are_told_apart_by_their_bank(write: Write) -> None:
    twins = memory_device(0x1100, b"DIMM 0", b"CHANNEL A") + memory_device(0x1101, b"DIMM 0", b"CHANNEL B")
    table, log = write("table.bin", twins + END_OF_TABLE), write("sent.cper", error_record())
    assert label(decode("--json", "--smbios", table, log)) == "CHANNEL A DIMM 0"


@pytest.mark.parametrize(
    ("table", "handle"),
    [
        (BOARD, 0x1102),
        (BOARD, 0x1000),  # the array's
        (BOARD, None),
        (memory_device(HANDLE, b"A") + memory_device(HANDLE, b"B") + END_OF_TABLE, HANDLE),
        (memory_device(HANDLE) + END_OF_TABLE, HANDLE),
    ],
    ids=["not in the table", "no memory device", "no handle", "twice in the table", "a device without a name"],
)
def test_no_name_is_guessed(write: Write, table: bytes, handle: int | None) -> None:
    result = decode("--json", "--smbios", write("table.bin", table), write("sent.cper", error_record(handle)))
    assert label(result) is None
    assert "DIMM: SMBIOS" not in result.stdout


GHES = """\
{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 4
{1}[Hardware Error]: event severity: corrected
{1}[Hardware Error]:  Error 0, type: corrected
{1}[Hardware Error]:   section_type: memory error
{1}[Hardware Error]:   physical_address: 0x0000000ab5e34000
{1}[Hardware Error]:   node:1 card:2 module:1 rank:0 bank:3 device:5 row:234 column:8
{1}[Hardware Error]:   error_type: 2, single-bit ECC
{1}[Hardware Error]:   DIMM location: not present. DMI handle: 0x1100
"""
"""Form: Linux drivers/firmware/efi/cper.c, cper_print_mem and cper_dimm_err_location."""
EDAC = (
    "EDAC MC0: 1 CE single-bit ECC on unknown memory (node:1 card:2 module:1 DIMM location: not present. "
    "DMI handle: 0x1100 page:0xab5e34 offset:0x0 grain:1 syndrome:0x0)\n"
)
"""Form: Linux drivers/edac/ghes_edac.c (ghes_edac_report_mem_error) and edac_mc.c (edac_ce_error)."""
DAEMON = (
    "extlog_mem_event: 2023-05-31 10:06:20 -0400 7 corrected error: single-bit ECC physical addr: 0xab5e34000 "
    "mask: 0x3fffffffffc0 node: 1 card: 2 rank: 0 card_handle: 4096 module_handle: 4352 )\n"
)
"""Form: rasdaemon ras-extlog-handler.c (err_cper_data)."""
TOOL = (
    "1 2023-05-31 10:06:20 -0400 error: type=single-bit ECC, severity=corrected, address=0xab5e34000, "
    "fru_id=00000000-0000-0000-0000-000000000000, fru_text='', cper_data={node=1, card=2, mem_array_handle=4096, "
    "mem_dev_handle=4352}\n"
)
"""Form: rasdaemon util/ras-mc-ctl.in (get_cper_data_text)."""


@pytest.mark.parametrize("text", [GHES, EDAC, DAEMON, TOOL], ids=["GHES", "EDAC", "rasdaemon", "ras-mc-ctl"])
def test_a_handle_in_a_text_is_named_too(write: Write, text: str) -> None:
    table = write("table.bin", BOARD)
    assert label(decode("--json", "--smbios", table, write("kern.log", text.encode()))) == NAMED


@pytest.mark.parametrize("view", [["--summary"], []])
def test_a_large_log_that_is_read_by_columns_gets_the_same_names(
    write: Write, monkeypatch: pytest.MonkeyPatch, view: list[str]
) -> None:
    table, log = write("table.bin", BOARD), write("kern.log", GHES.encode())
    by_lines = decode("--smbios", table, *view, log)
    monkeypatch.setattr(decode_module, "BULK_BYTES", 0)
    assert decode("--smbios", table, *view, log).stdout == by_lines.stdout
    assert NAMED in by_lines.stdout


# --- the API ---------------------------------------------------------------------------------------------------------


def test_the_api_names_by_the_same_rules(here: Path, write: Write) -> None:
    def named(path: Path, choice: str | Path = "auto") -> str | None:
        (event,) = api.findings(path, smbios=choice)
        assert isinstance(event, api.Event)
        return event.finding.reading.location.label

    own, foreign = write("pstore/mce-erst-1", error_record()), write("sent.cper", error_record())
    assert (named(own), named(foreign)) == (NAMED, None)
    assert (named(foreign, "here"), named(foreign, Path(smbios.TABLE_FILE)), named(own, "none")) == (NAMED, NAMED, None)
    assert api.table(own).column("location_label").to_pylist() == [NAMED]
