"""Both ways of reading a log give the same findings: by columns, and record by record."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from threading import Thread

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.generate import Counts, log
from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.arch.mci_status import CORRECTED_COUNT
from ringfence.decode.meaning import NO_WORDS
from ringfence.decode.significance import ALL_BITS, significance, significant_misc
from ringfence.diagnosis.batches import batches
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import Event, diagnose, events
from ringfence.diagnosis.folding import RELATIONS
from ringfence.diagnosis.kinds import Vocabulary, key_columns
from ringfence.diagnosis.numbers import address_column, granularity_column, number_column
from ringfence.diagnosis.table import Batch, Facts, Part
from ringfence.record.columns import Columns, Present
from ringfence.record.evidence import Delivery, Format, Location, Origin, Record, Registers, Unrecognised
from ringfence.record.reader import read
from ringfence.record.sources import Source, expand
from ringfence.views import bulk, bulk_jsonl, jsonl, summary, text
from ringfence.views.arrow import table, write_parquet

MODELS = (
    (Vendor.INTEL, 0x106A5), (Vendor.INTEL, 0x206C2), (Vendor.INTEL, 0x206D7), (Vendor.INTEL, 0x306E4),
    (Vendor.INTEL, 0x306F2), (Vendor.INTEL, 0x406F1), (Vendor.INTEL, 0x50663), (Vendor.INTEL, 0x50657),
    (Vendor.INTEL, 0x606A6), (Vendor.INTEL, 0x806F8), (Vendor.INTEL, 0xA06D1), (Vendor.INTEL, 0x130F00),
    (Vendor.INTEL, 0x906E9), (Vendor.INTEL, 0x6E8), (Vendor.AMD, 0x800F12), (Vendor.AMD, 0x830F10),
    (Vendor.AMD, 0xA00F11), (Vendor.AMD, 0xA60F12), (Vendor.AMD, 0xB00F21), (Vendor.AMD, 0x600F12),
    (Vendor.AMD, 0x100F42), (Vendor.HYGON, 0x900F02), (Vendor.ZHAOXIN, 0x107B0),
)  # fmt: skip


def items(source: Source) -> list[Event | Unrecognised]:
    return list(events(read(source)))


def as_text(source: Source) -> str:
    return "\n".join(
        text.unrecognised_text(item) if isinstance(item, Unrecognised) else text.event_text(item)
        for item in items(source)
    )


def as_bulk_text(sources: list[Source]) -> str:
    writer = bulk.TextWriter(colour=False)
    out = b"".join(
        chunk for batch in batches(sources, work=bulk.TextReader) for chunk in writer.write(batch)
    ) + b"".join(writer.finish())
    return out.decode()


def as_json(source: Source) -> bytes:
    found = [
        jsonl.unrecognised_line(item) if isinstance(item, Unrecognised) else jsonl.line(item) for item in items(source)
    ]
    return b"".join(jsonl.encode(line) + b"\n" for line in found)


def as_bulk_json(sources: list[Source]) -> bytes:
    writer = bulk_jsonl.JsonWriter()
    read = batches(sources, work=bulk_jsonl.JsonReader)
    return b"".join(chunk for batch in read for chunk in writer.write(batch)) + b"".join(writer.finish())


def as_summary(source: Source) -> str:
    tally = summary.Tally()
    for item in items(source):
        tally.add(item)
    return summary.text(tally)


def as_bulk_summary(sources: list[Source]) -> str:
    tally = summary.Tally()
    for batch in batches(sources):
        bulk.tally(tally, batch)
    return summary.text(tally)


def written(folder: Path, lines: list[str]) -> Source:
    path = folder / "kern.log"
    path.write_text("".join(lines))
    (source,) = expand((str(path),))
    return source


@pytest.mark.parametrize("distinct", [False, True], ids=["few-kinds", "distinct"])
@pytest.mark.parametrize("mix", ["intel", "mixed", "smca"])
def test_text_and_summary_of_a_log_do_not_depend_on_how_it_is_read(mix: str, distinct: bool, tmp_path: Path) -> None:
    source = written(tmp_path, list(log(mix, 1500, 7, Counts(), distinct=distinct)))
    assert as_bulk_text([source]) == as_text(source)
    assert as_bulk_summary([source]) == as_summary(source)
    assert as_bulk_json([source]) == as_json(source)


@pytest.mark.parametrize(
    "stamp",
    [
        "Nov 14 22:13:{0:02d} host-{0} kernel: ",
        "Nov  4 22:13:{0:02d} host kernel: [  {0}12.000100] ",
        "2026-11-14T22:13:{0:02d}.000123+00:00 host kernel: ",
        "[Sat Nov 14 22:13:{0:02d} 2026] ",
        "kernel: ",
        "",
    ],
)
def test_json_has_the_stamp_of_any_prefix(stamp: str, tmp_path: Path) -> None:
    lines = []
    for number in range(40):
        prefix = stamp.format(10 + number // 4)
        lines += [
            f"{prefix}mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 8: 8c0000400001{number // 8:04x}\n",
            f"{prefix}mce: [Hardware Error]: TSC {number + 1:x} ADDR {number << 12:x} MISC 86 \n",
            f"{prefix}mce: [Hardware Error]: PROCESSOR 0:50657 TIME {1700000000 + number} SOCKET {number % 2} APIC 6 "
            "microcode d000404\n",
        ]
    source = written(tmp_path, lines)
    assert as_bulk_json([source]) == as_json(source)
    assert as_bulk_json([source]).count(b'"stamp"') == (40 if stamp not in {"", "kernel: "} else 0)


@pytest.mark.parametrize("seed", range(6))
def test_damage_changes_nothing_about_that(seed: int, tmp_path: Path) -> None:
    draw = Random(seed)
    lines = list(log(draw.choice(["intel", "mixed", "smca"]), 400, seed, Counts()))
    extra = [
        "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x1 offset:0x0)\n",
        "Memory failure: 0x1234: recovery action for dirty LRU page: Recovered\n",
        "mce: [Hardware Error]: Machine check: Processor context corrupt\n",
        "mce: [Hardware Error]: something that nobody knows\n",
        "mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 7: 8c00004000010090\n",
        "STATUS 8c00004000010090 MCGSTATUS 0\n",
    ]
    for _ in range(40):
        at = draw.randrange(len(lines))
        match draw.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                lines[at] = lines[at][: draw.randrange(len(lines[at]))] + "\n"
            case 3:
                lines.insert(at, draw.choice(extra))
            case _:
                other = draw.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    source = written(tmp_path, lines)
    assert as_bulk_text([source]) == as_text(source)
    assert as_bulk_summary([source]) == as_summary(source)
    assert as_bulk_json([source]) == as_json(source)


def test_latched_and_doubled_reports_are_folded_alike(tmp_path: Path) -> None:
    lines = list(log("mixed", 60, 3, Counts()))
    source = written(tmp_path, [*lines, *lines, *list(log("mixed", 1400, 4, Counts())), *lines])
    assert as_bulk_json([source]) == as_json(source)
    assert as_bulk_text([source]) == as_text(source)
    assert as_bulk_summary([source]) == as_summary(source)


@pytest.mark.parametrize("distinct", [False, True], ids=["few-kinds", "distinct"])
def test_a_table_has_a_row_for_each_report_with_the_same_findings(distinct: bool, tmp_path: Path) -> None:
    source = written(tmp_path, list(log("mixed", 800, 5, Counts(), distinct=distinct)))
    expected = []
    for item in items(source):
        assert isinstance(item, Event)
        expected.append((item.finding, item.relation, item.count))
        expected.extend((again.finding, again.relation, 0) for again in item.reports)
    expected.sort(key=lambda row: row[0].record.origin.line or 0)
    target = tmp_path / "out.parquet"
    write_parquet(batches([source]), target)
    rows = pq.read_table(target).to_pylist()
    assert len(rows) == len(expected)
    for row, (finding, relation, count) in zip(rows, expected, strict=True):
        record, reading = finding.record, finding.reading
        assert (row["line"], row["cpu"], row["socket"], row["bank"]) == (
            record.origin.line, record.cpu, record.socket, record.bank,
        )  # fmt: skip
        assert (row["severity"], row["unit"], row["error"], row["summary"]) == (
            finding.severity, reading.unit, reading.error, finding.summary,
        )  # fmt: skip
        for name in ("status", "addr", "misc", "synd", "ipid", "tsc", "ppin", "ip", "mcg_status"):
            assert row[name] == getattr(record.registers, name), name
        assert row["address"] == reading.address.value
        assert row["granularity_bytes"] == reading.address.granularity_bytes
        assert row["names_a_page"] == reading.address.names_a_page
        assert row["corrected_count"] == reading.corrected_count
        assert row["threshold_count"] == reading.threshold_count
        for name in (
            "controller",
            "channel",
            "rank",
            "bank_group",
            "bank",
            "row",
            "column",
            "device",
            "csrow",
            "syndrome",
        ):
            assert row[f"location_{name}"] == getattr(reading.location, name), name
        assert (row["relation"], row["count"]) == (relation, count)
        assert row["time"].timestamp() == record.time


def test_a_table_that_is_not_finished_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    source = written(tmp_path, list(log("intel", 60, 5, Counts())))
    target, link = tmp_path / "out.parquet", tmp_path / "link.parquet"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)

    def cut_short() -> Iterator[Batch]:
        yield from batches([source])
        assert target.read_bytes() == b"old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parquet(cut_short(), link)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"kern.log", "out.parquet", "link.parquet"}
    write_parquet(batches([source]), link)
    assert link.is_symlink()
    assert pq.read_table(target).num_rows
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_table_is_written_into_a_pipe_and_not_in_its_place(tmp_path: Path) -> None:
    # Not a device: a test that fails would replace it, where it may.
    source = written(tmp_path, list(log("intel", 60, 5, Counts())))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_parquet(batches([source]), pipe)
    reader.join(timeout=10)
    assert pipe.is_fifo()
    assert pq.read_table(io.BytesIO(read[0])).num_rows


def test_a_compressed_or_piped_log_gives_the_same_table(tmp_path: Path) -> None:
    source = written(tmp_path, list(log("smca", 300, 9, Counts())))
    packed = tmp_path / "kern.log.gz"
    packed.write_bytes(gzip.compress(Path(source.name).read_bytes()))
    (unpacked,) = expand((str(packed),))
    one = [row | {"file": ""} for batch in batches([source]) for row in table(batch).to_pylist()]
    two = [row | {"file": ""} for batch in batches([unpacked]) for row in table(batch).to_pylist()]
    assert one == two


registers = st.integers(0, ALL_BITS)
hardly_placed = st.sampled_from((0x86, 0x8C, 0x286, 1 << 20 | 0x86, 1 << 46 | 0x86, 1 << 63 | 0x86, 0))
numbers_of_locations = [name for name in Location.__slots__ if name != "label"]


COLUMN_TYPES = {
    "present": np.uint8, "bank": np.uint16, "cs": np.uint16, "vendor": np.uint8, "cpuid": np.uint32, "cpu": np.uint32,
    "socket": np.uint32, "apicid": np.uint32, "time": np.int64, "line": np.int64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bank:
    """What two records of one bank may differ in."""

    status: int
    misc: int
    addr: int
    synd: int


def columns_of(banks: list[Bank], model: tuple[Vendor, int], bank: int, ipid: int | None, mcg_status: int) -> Columns:
    """The columns of such records; all else is equal."""
    number = next(number for number, vendor in LINUX_VENDORS.items() if vendor is model[0])
    present = Present.ADDR | Present.MISC | (Present.SYND | Present.IPID if ipid is not None else Present(0))
    values = dict.fromkeys(Columns.__slots__, 0) | {
        "vendor": number, "cpuid": model[1], "bank": bank, "mcg_status": mcg_status, "tsc": 7, "ipid": ipid or 0,
        "present": int(present), "cpu": 1, "time": 1, "line": 1,
    }  # fmt: skip
    return Columns(
        **{
            name: np.array([getattr(each, name, values[name]) for each in banks], COLUMN_TYPES.get(name, np.uint64))
            for name in Columns.__slots__
        }
    )


def record_of(each: Bank, model: tuple[Vendor, int], bank: int, ipid: int | None, mcg_status: int) -> Record:
    """The same as an object."""
    return Record(
        origin=Origin("x", 1), format=Format.PRINTK, raw=b"", bank=bank, cpu=1, socket=0, vendor=model[0],
        cpuid=model[1], time=1.0, delivery=Delivery.MACHINE_CHECK if mcg_status else Delivery.POLLED,
        registers=Registers(
            status=each.status, misc=each.misc, addr=each.addr, mcg_status=mcg_status, tsc=7, ipid=ipid,
            synd=each.synd if ipid is not None else None,
        ),
    )  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    bank=st.integers(0, 32),
    code=st.sampled_from((0x90, 0xC1, 0x9F, 0x134, 0x136, 0xE0B, 0x400, 0x402, 0x5, 0x11B, 0x80B, 0x108, 0x151, 0x0)),
    status=registers,
    misc=st.one_of(registers, hardly_placed),
    addr=registers,
    synd=registers,
    ipid=st.sampled_from((None, 0x9600050F00, 0x500B000000000, 0xB000000000, 0x2E00000000)),
    noise=st.tuples(registers, registers, registers, registers),
    mcg_status=st.sampled_from((0, 4, 5, 7, 15)),
    high=st.sampled_from((0, (1 << 63), (1 << 63) | (1 << 61), (1 << 63) | (3 << 58), (1 << 63) | (7 << 58))),
)
def test_bits_that_do_not_matter_change_only_the_numbers_and_words_that_are_declared(
    model: tuple[Vendor, int], bank: int, code: int, status: int, misc: int, addr: int, synd: int, ipid: int | None,
    noise: tuple[int, int, int, int], mcg_status: int, high: int,
) -> None:  # fmt: skip
    status = status & ~0xFFFF & ~(0xFF << 56) | code | high
    matters = significance(*model, bank)
    free_misc = ALL_BITS & ~significant_misc(status, ALL_BITS, matters.misc, matters.amd)
    low = (1 << 52) - 1
    one = Bank(status, misc, addr, synd if ipid is not None else 0)
    changes = {
        "status": status & matters.status | noise[0] & ~matters.status,
        "misc": misc & ~free_misc | noise[1] & free_misc,
        "addr": addr if matters.addr else addr & ~low | noise[2] & low,
        "synd": one.synd & matters.synd | noise[3] & ~matters.synd if ipid is not None else 0,
    }
    other = one
    for name, value in changes.items():
        # A change that makes another kind (of a count of zero, say) is left out; the others must all be of one.
        tried = replace(other, **{name: value})
        keys = np.stack(key_columns(columns_of([one, tried], model, bank, ipid, mcg_status)))
        other = tried if np.array_equal(keys[:, 0], keys[:, 1]) else other
    assert_one_kind([one, other], model, bank, ipid, mcg_status)


def assert_one_kind(banks: list[Bank], model: tuple[Vendor, int], bank: int, ipid: int | None, mcg_status: int) -> None:
    """What holds for records that agree in their key: equal but for words and numbers, which the columns know."""
    rows = columns_of(banks, model, bank, ipid, mcg_status)
    findings = [diagnose(record_of(each, model, bank, ipid, mcg_status)) for each in banks]
    first = findings[0]
    vocabulary = Vocabulary()
    facts = Facts("x")
    chosen = vocabulary.of(rows)
    agreed = {tuple(each) for each in np.stack(key_columns(rows), axis=1).tolist()}
    assert len(agreed) == 1
    part = Part(0, rows, [], np.zeros(len(rows), np.int32), list(agreed), [0], chosen, vocabulary.words)
    kind, wording = facts.settle(part)
    template, line = text.template(first), bulk_jsonl.template(first)
    for finding, words in zip(findings, wording.tolist(), strict=True):
        assert text.template(finding) == template
        assert bulk_jsonl.template(finding) == line
        assert (finding.severity, finding.advice) == (first.severity, first.advice)
        assert facts.words[words] == (finding.reading.wording or NO_WORDS)
    for name in (*numbers_of_locations, "corrected_count", "threshold_count"):
        value, has = number_column(facts, rows, kind, name)
        for at, finding in enumerate(findings):
            owner = finding.reading if name.endswith("_count") else finding.reading.location
            assert (int(value[at]) if has[at] else None) == getattr(owner, name), name
    for column, attribute in ((address_column, "value"), (granularity_column, "granularity_bytes")):
        value, has = column(facts, rows, kind)
        for at, finding in enumerate(findings):
            assert (int(value[at]) if has[at] else None) == getattr(finding.reading.address, attribute)


UMC, LS, CS, PIE = 0x96_0005_0F00, 0x10_00B0_0000_0000, 0x2_002E_0000_0000, 0x1_002E_0000_0000
CORRECTED_MEMORY = 0x8C00_0040_0000_0090
SMCA_STATUS = 0x9C20_4000_0000_011B | 1 << 56
COUNTER = 0xD010_0001_0100_0000


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model[0]}-{model[1]:x}")
def test_a_single_bit_that_is_said_not_to_matter_does_not(model: tuple[Vendor, int]) -> None:
    draw = Random(model[1])
    amd = model[0] in {Vendor.AMD, Vendor.HYGON}
    for bank in range(0, 32, 1 if model[0] is Vendor.INTEL else 3):
        status = (SMCA_STATUS if amd else CORRECTED_MEMORY) | draw.choice((0, 1 << 61, 0x9 << 16, 1 << 33, 1 << 62))
        if draw.random() < 0.3:
            status = status & ~0xFFFF | draw.choice((0x134, 0x80B, 0xE0B, 0x400, 0x402, 0x17A))
        misc = COUNTER | draw.getrandbits(12) << 32 if amd else draw.getrandbits(55) << 9 | 0x86
        synd = draw.getrandbits(32) << 32 | 2 << 24 | 16 << 18 | draw.getrandbits(18)
        base = Bank(status, misc, draw.getrandbits(34) << 6, synd if amd else 0)
        ipid = draw.choice((UMC, LS, CS, PIE)) if amd else None
        flipped = [
            replace(base, **{name: getattr(base, name) ^ 1 << bit})
            for name in ("status", "misc", "addr", *(("synd",) if amd else ()))
            for bit in range(64)
        ]
        keys = np.stack(key_columns(columns_of([base, *flipped], model, bank, ipid, 0)), axis=1)
        same = np.flatnonzero((keys[1:] == keys[0]).all(axis=1)).tolist()
        assert_one_kind([base, *(flipped[at] for at in same)], model, bank, ipid, 0)


def test_a_misc_without_a_place_is_a_kind_of_its_own(tmp_path: Path) -> None:
    lines = []
    for number in range(1200):
        misc = (0x86, 1 << 19 | 0x86, 0x1234 << 19 | 0x86, 0x8C)[number % 4]
        lines += [
            f"mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank {13 + number % 3}: 8c00004000800090\n",
            f"mce: [Hardware Error]: TSC {number + 1:x} ADDR {number << 12:x} MISC {misc:x} \n",
            f"mce: [Hardware Error]: PROCESSOR 0:606a6 TIME {1700000000 + number} SOCKET 0 APIC 6 microcode d000404\n",
        ]
    source = written(tmp_path, lines)
    whole = as_text(source)
    assert whole.count("no DRAM location") == 600
    assert whole.count("row 0x1234") == 300
    assert as_bulk_text([source]) == whole
    target = tmp_path / "out.parquet"
    write_parquet(batches([source]), target)
    rows = pq.read_table(target).to_pylist()
    assert [row["location_row"] for row in rows[:4]] == [None, 1, 0x1234, None]


def test_every_relation_has_its_number() -> None:
    assert set(RELATIONS) == set(Relation)
    assert CORRECTED_COUNT.mask & ~significance(Vendor.INTEL, 0x50657, 7).status


def test_reading_needs_no_second_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path, list(log("intel", 200, 1, Counts())))
    monkeypatch.delattr(os, "fork")
    assert as_bulk_text([source]) == as_text(source)
    assert io.StringIO(as_bulk_summary([source])).readline()


def test_every_view_gives_a_linear_address_as_software_knows_it(tmp_path: Path) -> None:
    # Linux forum, March 2021 (Zen): a watchdog timeout; the bank holds 49 bits of the instruction's address.
    lines = []
    for number in range(600):
        lines += [
            f"mce: [Hardware Error]: CPU {number % 8}: Machine Check: 0 Bank 5: bea0000000000108\n",
            "mce: [Hardware Error]: TSC 0 ADDR 1ffff98edc72e MISC d012000100000000 SYND 4d000000 IPID 500b000000000 \n",
            f"mce: [Hardware Error]: PROCESSOR 2:800f11 TIME {1700000000 + number} SOCKET 0 APIC 0 microcode 8001137\n",
        ]
    source = written(tmp_path, lines)
    whole = as_text(source)
    assert "address      0xffffffff98edc72e, linear" in whole
    assert as_bulk_text([source]) == whole
    [first, *_] = items(source)
    assert isinstance(first, Event)
    assert jsonl.line(first).address.value == "0xffffffff98edc72e"
    assert jsonl.line(first).registers.addr == "0x1ffff98edc72e"
    target = tmp_path / "out.parquet"
    write_parquet(batches([source]), target)
    rows = pq.read_table(target).to_pylist()
    assert {(row["address"], row["addr"]) for row in rows} == {(0xFFFFFFFF98EDC72E, 0x1FFFF98EDC72E)}
