"""Reading rasdaemon's SQLite file, of every age."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.errors import SourceError
from ringfence.record.binary import detect, rasdaemon_db
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    Location,
    MemoryReport,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

# The columns of mce_record by age: rasdaemon commits 0a31d93 (2013), d3d3364 (2013), 045ab08 (2024, ppin) and
# 7906593 (2024, microcode).
_FIRST = [
    *("timestamp", "mcgcap", "mcgstatus", "status", "addr", "misc", "ip", "tsc", "walltime", "cpu", "cpuid", "apicid"),
    *("socketid", "cs", "bank", "cpuvendor", "bank_name", "error_msg", "mcgstatus_msg", "mcistatus_msg"),
    *("user_action", "mc_location"),
]
MCE_SCHEMAS = {
    "2013": _FIRST,
    "0.4": [*_FIRST, "mcastatus_msg"],
    "0.8.1": [*_FIRST, "mcastatus_msg", "ppin", "microcode"],
    "later": [*_FIRST, "mcastatus_msg", "ppin", "microcode", "synd", "ipid"],
}
OTHERS = {
    "mc_event": (
        "timestamp err_count err_type err_msg label mc top_layer middle_layer lower_layer address grain syndrome "
        "driver_detail"
    ),
    "memory_failure_event": "timestamp pfn page_type action_result",
    "extlog_event": "timestamp etype error_count severity address fru_id fru_text cper_data",
    "non_standard_event": "timestamp sec_type fru_id fru_text severity error",
    "aer_event": "timestamp dev_name err_type err_msg",
}
TEXTS = {"timestamp", "bank_name", "error_msg", "label", "pfn", "page_type"}

Values = Mapping[str, int | str | bytes | None]

# Ice Lake, an uncorrected read found by the patrol scrubber: the registers of intel/SKX-like records in public logs,
# stored as rasdaemon does: 64-bit registers as signed, mcgcap cut to 32 bits.
SCRUB: Values = {
    "timestamp": "2022-10-31 20:22:47 +0100",
    "mcgcap": 0xF000C14,
    "mcgstatus": 0,
    "status": 0xBD800000000000C0 - (1 << 64),
    "addr": 0x12345680,
    "misc": 0x200000000000008C,
    "ip": 0,
    "tsc": 0,
    "walltime": 1667244167,
    "cpu": 40,
    "cpuid": 0x606A6,
    "apicid": 0x80,
    "socketid": 1,
    "cs": 0,
    "bank": 13,
    "cpuvendor": 0,
    "bank_name": "MEMORY CONTROLLER MC",
    "error_msg": "memory scrubbing error",
    "mcgstatus_msg": "mcgstatus=0",
    "mcistatus_msg": "Uncorrected_error",
    "mcastatus_msg": "MEMORY CONTROLLER MS_CHANNEL0_ERR",
    "user_action": "",
    "mc_location": "memory_channel=0",
}


def create(connection: sqlite3.Connection, table: str, columns: list[str], *rows: Values) -> None:
    fields = ", ".join(f"{name} {'TEXT' if name in TEXTS else 'INTEGER'}" for name in columns)
    connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {fields})")
    for row in rows:
        known = {name: value for name, value in row.items() if name in columns}
        marks = ", ".join("?" * len(known))
        connection.execute(f"INSERT INTO {table} ({', '.join(known)}) VALUES ({marks})", tuple(known.values()))
    connection.commit()


def store(path: Path, table: str, *rows: Values, columns: list[str] | None = None) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        create(connection, table, columns or OTHERS[table].split(), *rows)
    return path


def only_record(path: Path) -> Record:
    (record,) = rasdaemon_db.read(path)
    assert isinstance(record, Record)
    return record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ras-mc_event.db"


@pytest.mark.parametrize("age", MCE_SCHEMAS)
def test_mce_record_is_read_in_the_schema_of_every_age(path: Path, age: str) -> None:
    newer: Values = {**SCRUB, "ppin": 0x4D2, "microcode": -1, "synd": 1, "ipid": 2}
    record = only_record(store(path, "mce_record", newer, columns=MCE_SCHEMAS[age]))
    has_ppin, has_ipid = age in {"0.8.1", "later"}, age == "later"
    assert record.registers == Registers(
        status=0xBD800000000000C0,
        addr=0x12345680,
        misc=0x200000000000008C,
        mcg_status=0,
        mcg_cap=0xF000C14,
        ppin=0x4D2 if has_ppin else None,
        synd=1 if has_ipid else None,
        ipid=2 if has_ipid else None,
    )
    assert record.microcode == (0xFFFFFFFF if has_ppin else None)
    assert (record.cpu, record.socket, record.apicid, record.bank) == (40, 1, 0x80, 13)
    assert (record.vendor, record.cpuid) == (Vendor.INTEL, 0x606A6)
    assert (record.time, record.stamp) == (1667244167.0, "2022-10-31 20:22:47 +0100")
    assert record.delivery is Delivery.POLLED
    assert record.origin == Origin(str(path), offset=1)
    assert [claim.text for claim in record.claims if claim.kind is ClaimKind.ERROR] == (
        ["memory scrubbing error"] + (["MEMORY CONTROLLER MS_CHANNEL0_ERR"] if age != "2013" else [])
    )


def test_the_raw_row_is_kept_as_json_with_its_table(path: Path) -> None:
    record = only_record(store(path, "mce_record", SCRUB, columns=MCE_SCHEMAS["0.4"]))
    document = json.loads(record.raw)
    assert (document["table"], document["rowid"]) == ("mce_record", 1)
    assert {name: document[name] for name in SCRUB} == SCRUB


def test_columns_that_are_missing_say_nothing(path: Path) -> None:
    record = only_record(store(path, "mce_record", {"status": -1, "bank": 4}, columns=["status", "bank"]))
    assert record.registers.mcg_status is None
    assert record.delivery is Delivery.UNKNOWN
    assert (record.cpu, record.socket, record.apicid, record.vendor, record.time) == (None,) * 5


def test_without_walltime_the_timestamps_text_gives_the_time(path: Path) -> None:
    record = only_record(store(path, "mce_record", {**SCRUB, "walltime": 0}, columns=MCE_SCHEMAS["0.4"]))
    assert record.time == 1667244167.0


def test_an_edac_event_is_a_memory_report_with_its_layers_as_they_stand(path: Path) -> None:
    store(
        path,
        "mc_event",
        {
            "timestamp": "2023-02-01 10:00:00 +0000",
            "err_count": 3,
            "err_type": "Corrected",
            "err_msg": "memory read error",
            "label": "CPU_SrcID#0_MC#1_Chan#0_DIMM#0",
            "mc": 1,
            "top_layer": 0,
            "middle_layer": 1,
            "lower_layer": -1,
            "address": 0x2A3C4D5E00,
            "grain": 5,
            "syndrome": 0,
            "driver_detail": "err_code:0x0101:0x0090 socket:0 imc:1 rank:1",
        },
    )
    record = only_record(path)
    assert record.count == 3
    assert record.memory == MemoryReport(
        severity=ClaimedSeverity.CORRECTED,
        error="memory read error",
        location=Location(controller=1, label="CPU_SrcID#0_MC#1_Chan#0_DIMM#0"),
        physical_address=0x2A3C4D5E00,
    )
    assert [claim.text for claim in record.claims] == [
        "layers 0:1",
        "grain 5 (bits)",
        "err_code:0x0101:0x0090 socket:0 imc:1 rank:1",
    ]
    assert record.registers == Registers()


def test_an_unknown_edac_error_type_is_kept_in_its_own_word(path: Path) -> None:
    record = only_record(store(path, "mc_event", {"err_type": "Odd", "err_count": 0}))
    assert record.count == 1
    assert record.memory is not None
    assert record.memory.severity is None
    assert Claim(ClaimKind.SEVERITY, "Odd", record.origin) in record.claims


def test_a_memory_failure_names_its_frame(path: Path) -> None:
    store(path, "memory_failure_event", {"pfn": "0x12345", "page_type": "dirty LRU page", "action_result": "Recovered"})
    record = only_record(path)
    assert record.memory == MemoryReport(
        severity=ClaimedSeverity.RECOVERABLE,
        error="dirty LRU page: Recovered",
        page_frame=0x12345,
        physical_address=0x12345000,
        grain_bytes=4096,
    )


def test_an_extended_log_event_is_a_memory_error_section_in_short(path: Path) -> None:
    # include/linux/cper.h, cper_mem_err_compact: node, card, module and rank are valid here.
    digest = struct.pack("<Q8H3Q3HB", 1 << 3 | 1 << 4 | 1 << 5 | 1 << 15, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)
    row: Values = {
        "etype": 2, "error_count": 77, "severity": 2, "address": 0x4000, "fru_id": bytes(16),
        "fru_text": b"DIMM_B2\0\0", "cper_data": digest,
    }  # fmt: skip
    record = only_record(store(path, "extlog_event", row))
    assert (record.count, record.delivery) == (1, Delivery.FIRMWARE)
    assert record.memory == MemoryReport(
        severity=ClaimedSeverity.CORRECTED,
        error="single-bit ECC",
        location=Location(node=1, card=2, module=3, rank=1, label="DIMM_B2"),
        physical_address=0x4000,
    )
    assert record.claims[0].text == "sequence number 77"


def test_what_the_kernel_marks_as_not_valid_in_an_extended_log_event_is_none(path: Path) -> None:
    record = only_record(store(path, "extlog_event", {"etype": 255, "severity": 9, "address": -1}))
    assert record.memory == MemoryReport()


def test_a_firmware_section_that_the_kernel_did_not_know_is_shown(path: Path) -> None:
    store(path, "non_standard_event", {"sec_type": b"\x01\x02", "severity": "Fatal", "error": b"\xff"})
    (evidence,) = rasdaemon_db.read(path)
    assert isinstance(evidence, Unrecognised)
    assert evidence.why.endswith("Fatal")
    assert json.loads(evidence.raw)["error"] == "ff"


def test_tables_that_are_about_other_things_give_nothing(path: Path) -> None:
    store(path, "mc_event", {"err_type": "Corrected"})
    store(path, "aer_event", {"err_msg": "Receiver Error"})
    assert len(list(rasdaemon_db.read(path))) == 1


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("mce_record", {"status": None, "bank": 1}),
        ("mce_record", {"status": 1, "bank": 256}),
        ("mce_record", {"status": 1, "cpu": 1 << 40}),
        ("memory_failure_event", {"pfn": "a page"}),
        ("memory_failure_event", {"pfn": "-1"}),
        ("extlog_event", {"cper_data": b"short"}),
    ],
)
def test_a_row_that_cannot_be_true_is_shown_and_the_next_is_read(path: Path, table: str, row: Values) -> None:
    good: Values = {"status": 1, "bank": 1, "pfn": "0x1", "etype": 2}
    store(path, table, row, good, columns=MCE_SCHEMAS["2013"] if table == "mce_record" else None)
    bad, fine = rasdaemon_db.read(path)
    assert isinstance(bad, Unrecognised)
    assert isinstance(fine, Record)


def test_a_live_database_in_wal_mode_is_read_up_to_its_last_commit(path: Path) -> None:
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        create(writer, "mce_record", MCE_SCHEMAS["0.8.1"], SCRUB)
        writer.execute("INSERT INTO mce_record (status) VALUES (2)")  # not committed
        assert only_record(path).bank == 13


def test_a_wal_database_at_rest_in_a_read_only_place_is_read(path: Path) -> None:
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        create(writer, "mce_record", MCE_SCHEMAS["0.8.1"], SCRUB)
    before = sorted(path.parent.iterdir())
    assert only_record(path).bank == 13
    assert sorted(path.parent.iterdir()) == before
    (record,) = rasdaemon_db.read_image(path.read_bytes(), "-")
    assert isinstance(record, Record)
    assert record.origin == Origin("-", offset=1)


def test_the_file_is_told_by_its_signature_and_never_changed(path: Path) -> None:
    content = store(path, "mce_record", SCRUB, columns=MCE_SCHEMAS["0.4"]).read_bytes()
    assert detect(content[:100], "ras-mc_event.db", len(content)) is Format.RASDAEMON_DB
    only_record(path)
    assert path.read_bytes() == content


def test_a_view_that_is_named_like_a_table_is_not_run(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE VIEW mce_record AS WITH RECURSIVE n(status) AS (SELECT 1 UNION ALL SELECT status FROM n) "
            "SELECT status, 1 AS rowid FROM n"
        )
    (evidence,) = rasdaemon_db.read(path)
    assert isinstance(evidence, Unrecognised)
    assert "without a table" in evidence.why


def test_a_value_beyond_every_bound_costs_its_row_alone(path: Path) -> None:
    big: Values = {"err_msg": "x" * (rasdaemon_db.MAX_VALUE_BYTES + 1)}
    store(path, "mc_event", {"err_msg": "before"}, big, {"err_msg": "after"})
    before, shown, after = rasdaemon_db.read(path)
    assert isinstance(before, Record)
    assert shown.origin.offset == 2
    assert "too big" in getattr(shown, "why", "")
    assert isinstance(after, Record)


@pytest.mark.parametrize("content", [None, b"", b"no database", b"SQLite format 3"])
def test_what_is_no_database_is_a_source_error_with_advice(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        list(rasdaemon_db.read(path))
    assert caught.value.advice


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    path = tmp_path_factory.mktemp("image") / "ras.db"
    store(path, "mce_record", *[SCRUB] * 40, columns=MCE_SCHEMAS["0.8.1"])
    store(path, "memory_failure_event", {"pfn": "0x1"})
    yield path.read_bytes()


def read_image(blob: bytes) -> list[Evidence]:
    return list(rasdaemon_db.read_image(blob, "-"))


def test_every_page_wise_prefix_is_read_the_same_or_unrecognised(image: bytes) -> None:
    whole = read_image(image)
    assert len(whole) == 41
    for cut in range(0, len(image), 512):
        for evidence in read_image(image[:cut]):
            assert isinstance(evidence, Unrecognised) or evidence in whole


@given(st.data())
def test_damaged_databases_never_raise_and_never_run_for_ever(image: bytes, data: st.DataObject) -> None:
    damaged = bytearray(image)
    for _ in range(data.draw(st.integers(1, 30))):
        at = data.draw(st.integers(16, len(image) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    assert len(read_image(bytes(damaged))) < 10_000


def test_pages_that_point_to_each_other_end(image: bytes) -> None:
    # Every page pointer of an interior b-tree page (type 5) is turned to the page itself.
    damaged = bytearray(image)
    size = struct.unpack_from(">H", image, 16)[0]
    interior = [at for at in range(size, len(image), size) if image[at] == 5]
    assert interior
    for at in interior:
        damaged[at + 8 : at + 12] = struct.pack(">I", at // size + 1)
    evidence = read_image(bytes(damaged))
    assert any(isinstance(item, Unrecognised) for item in evidence)
    assert len(evidence) <= 43


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_behind_the_signature_never_raise(blob: bytes) -> None:
    assert all(isinstance(item, Unrecognised) for item in read_image(rasdaemon_db.SIGNATURE + blob))
