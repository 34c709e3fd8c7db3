"""Sources that are files: a log, a database that grows, a directory, counters, a socket, /dev/mcelog."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import struct
from collections import deque
from contextlib import closing
from pathlib import Path

import pytest

from ringfence.errors import SourceError
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import ClaimedSeverity, Record, Unrecognised
from ringfence.service.sources.cper_directory import CperDirectorySource, Eraser
from ringfence.service.sources.edac_sysfs import EdacSource, interval
from ringfence.service.sources.file_source import FileSource
from ringfence.service.sources.mcelog_device import GET_LOG_LEN, GET_RECORD_LEN, GETCLEAR_FLAGS, follow_device
from ringfence.service.sources.rasdaemon_follow import RasdaemonSource
from ringfence.service.sources.socket_source import SocketSource
from ringfence.service.sources.source import Availability, Batch, Lost, Presence, Source
from tests.service.sources.running import batches, items, last

EVENT = (
    "[    1.000000] mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank {bank}: 8c00004000010090\n"
    "[    1.000001] mce: [Hardware Error]: TSC 5a1 ADDR 12345678c0 MISC 86 \n"
    "[    1.000002] mce: [Hardware Error]: PROCESSOR 0:50654 TIME 1700000000 SOCKET 0 APIC 2 microcode 2006b06\n"
)
MCE = StructMce(
    status=0x8C00004000010090, addr=0x1000, bank=7, cpuid=0x50654, mcgcap=22, time=1_700_000_000, finished=1
)


def event(bank: int) -> str:
    return EVENT.format(bank=bank)


def banks(found: list[Batch]) -> list[int | None]:
    return [item.bank for item in items(found) if isinstance(item, Record)]


# --- a log -----------------------------------------------------------------------------------------------------------


def log(path: Path) -> FileSource:
    return FileSource(path, lull_s=0.02, poll_s=0.005)


def test_a_log_is_followed_through_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_text(event(1))

    async def rotate(seen: int) -> None:
        if seen == 1 and not (tmp_path / "kern.log.1").exists():
            with path.open("a") as file:
                file.write(event(2))
            path.rename(tmp_path / "kern.log.1")
            path.write_text(event(3))

    assert banks(asyncio.run(batches(log(path), 3, meanwhile=rotate))) == [1, 2, 3]


def test_a_restart_goes_on_where_the_journal_ends_even_in_a_file_that_was_rotated_away(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_text(event(1))
    first = asyncio.run(batches(log(path), 1))
    with path.open("a") as file:
        file.write(event(2))
    path.rename(tmp_path / "kern.log.1")
    path.write_text(event(3))
    assert banks(asyncio.run(batches(log(path), 2, last(first)))) == [2, 3]


def test_every_rotation_that_happened_while_away_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_text(event(1))
    first = asyncio.run(batches(log(path), 1))
    with path.open("a") as file:
        file.write(event(2))
    path.rename(tmp_path / "kern.log.2")
    (tmp_path / "kern.log.1").write_text(event(3))
    (tmp_path / "kern.log.offset").write_text(event(9))
    path.write_text(event(4))
    for age, name in enumerate(("kern.log", "kern.log.1", "kern.log.2", "kern.log.offset")):
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert banks(asyncio.run(batches(log(path), 3, last(first)))) == [2, 3, 4]


def test_a_file_that_is_gone_for_good_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_text(event(1))
    first = asyncio.run(batches(log(path), 1))
    (tmp_path / "new").write_text(event(3))
    (tmp_path / "new").rename(path)
    again = items(asyncio.run(batches(log(path), 2, last(first))))
    assert [type(item) for item in again] == [Lost, Record]


def test_a_log_that_is_truncated_in_place_is_read_from_its_new_beginning(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_text("something else, long enough to be longer than what comes\n" * 10 + event(1))

    async def truncate(seen: int) -> None:
        if seen == 1:
            path.write_text(event(2))

    found = items(asyncio.run(batches(log(path), 3, meanwhile=truncate)))
    assert [type(item) for item in found] == [Record, Lost, Record]


# --- rasdaemon -------------------------------------------------------------------------------------------------------


def stored(path: Path, *counts: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS mc_event (id INTEGER PRIMARY KEY, timestamp TEXT, err_count INTEGER, "
            "err_type TEXT, err_msg TEXT, label TEXT, mc INTEGER, top_layer INTEGER, middle_layer INTEGER, "
            "lower_layer INTEGER, address INTEGER, grain INTEGER, syndrome INTEGER, driver_detail TEXT)"
        )
        for count in counts:
            connection.execute(
                "INSERT INTO mc_event (timestamp, err_count, err_type, label, mc) VALUES (?, ?, 'Corrected', 'A', 0)",
                ("2026-01-31 12:00:00 +0000", count),
            )


def counted(found: list[Batch]) -> list[int]:
    return [item.count for item in items(found) if isinstance(item, Record)]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_database_is_followed_as_it_grows_and_nothing_is_read_twice(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "ras-mc_event.db"
    source = RasdaemonSource(path=path, poll_s=0.005)
    with closing(sqlite3.connect(path)) as writer:
        writer.execute(f"PRAGMA journal_mode={mode}")
        stored(path, 1, 2)

        async def grow(seen: int) -> None:
            if seen == 2:
                stored(path, 3)

        first = asyncio.run(batches(source, 3, meanwhile=grow))
        stored(path, 4)
        again = asyncio.run(batches(source, 1, last(first)))
    assert (counted(first), counted(again)) == ([1, 2, 3], [4])


def test_a_database_that_was_begun_afresh_is_read_from_its_first_row(tmp_path: Path) -> None:
    path = tmp_path / "ras.db"
    stored(path, 1, 2)
    source = RasdaemonSource(path=path, poll_s=0.005)
    first = asyncio.run(batches(source, 2))
    stored(tmp_path / "new.db", 7)
    (tmp_path / "new.db").rename(path)
    again = asyncio.run(batches(source, 2, last(first)))
    assert counted(again) == [7] and isinstance(items(again)[0], Lost)


# --- EDAC ------------------------------------------------------------------------------------------------------------


def controller(root: Path, ce: int, ue: int = 0, noinfo: int = 0) -> None:
    dimm = root / "mc0" / "dimm0"
    dimm.mkdir(parents=True, exist_ok=True)
    (dimm / "dimm_ce_count").write_text(f"{ce}\n")
    (dimm / "dimm_ue_count").write_text(f"{ue}\n")
    (dimm / "dimm_label").write_text("CPU_SrcID#0_DIMM#0\n")
    (root / "mc0" / "ce_noinfo_count").write_text(f"{noinfo}\n")
    (root / "mc0" / "ce_count").write_text(f"{ce + noinfo}\n")


def edac(root: Path, boot: str = "one") -> EdacSource:
    return EdacSource(root=root, poll_s=0.005, now=lambda: 100.0, boot_id=lambda: boot)


def test_counters_give_what_they_grew_by_once_per_dimm_and_kind(tmp_path: Path) -> None:
    controller(tmp_path, ce=5, ue=1, noinfo=2)
    first = asyncio.run(batches(edac(tmp_path), 3))
    found = [item for item in items(first) if isinstance(item, Record)]
    assert [(item.count, item.memory.severity, item.memory.location.label) for item in found if item.memory] == [
        (5, ClaimedSeverity.CORRECTED, "CPU_SrcID#0_DIMM#0"),
        (1, ClaimedSeverity.RECOVERABLE, "CPU_SrcID#0_DIMM#0"),
        (2, ClaimedSeverity.CORRECTED, None),
    ]
    controller(tmp_path, ce=9, ue=1, noinfo=2)
    again = asyncio.run(batches(edac(tmp_path), 1, last(first)))
    assert counted(again) == [4]
    (record,) = items(again)
    span = interval(record) if isinstance(record, Record) else None
    assert span is not None and (span.since_s, span.until_s) == (100.0, 100.0)


def test_a_counter_that_went_back_was_reset_and_after_a_boot_all_count_anew(tmp_path: Path) -> None:
    controller(tmp_path, ce=5)
    first = asyncio.run(batches(edac(tmp_path), 1))
    controller(tmp_path, ce=2)
    reset = items(asyncio.run(batches(edac(tmp_path), 2, last(first))))
    assert isinstance(reset[0], Lost) and isinstance(reset[1], Record) and reset[1].count == 2
    controller(tmp_path, ce=7)
    assert counted(asyncio.run(batches(edac(tmp_path, boot="two"), 1, last(first)))) == [7]


def test_what_is_no_regular_file_is_refused_with_what_can_be_used_instead(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = FileSource(tmp_path / "pipe").probe()
    assert found.presence is Presence.FORBIDDEN and "socket:PATH" in found.advice


# --- a directory -----------------------------------------------------------------------------------------------------


def test_each_file_of_a_directory_is_read_once_and_left_there(tmp_path: Path) -> None:
    (tmp_path / "mce-erst-1").write_bytes(MCE.pack(128))
    source = CperDirectorySource(path=tmp_path, poll_s=0.005)
    first = asyncio.run(batches(source, 1))
    (tmp_path / "mce-erst-2").write_bytes(MCE.pack(128) * 2)
    again = asyncio.run(batches(source, 2, last(first)))
    assert banks(first) == [7] and banks(again) == [7, 7]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mce-erst-1", "mce-erst-2"]


def test_files_are_erased_only_where_that_is_ringfences_part_and_only_after_they_were_handed_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mce-erst-1"
    path.write_bytes(MCE.pack(128))
    was_there: list[bool] = []

    async def run() -> None:
        handed = asyncio.Event()

        async def journal(_: Batch) -> None:
            was_there.append(path.exists())
            handed.set()

        source = CperDirectorySource(path=tmp_path, poll_s=0.005, eraser=Eraser.RINGFENCE)
        task = asyncio.create_task(source.follow(journal))
        await handed.wait()
        while path.exists():
            await asyncio.sleep(0.002)
        task.cancel()

    asyncio.run(asyncio.wait_for(run(), 5))
    assert was_there == [True]


def test_what_firmware_keeps_over_boots_is_read_once_though_its_file_is_another(tmp_path: Path) -> None:
    kept = tmp_path / "mce-erst-1"
    kept.write_bytes(MCE.pack(128))
    source = CperDirectorySource(path=tmp_path, poll_s=0.005)
    first = asyncio.run(batches(source, 1))
    kept.unlink()
    kept.write_bytes(MCE.pack(128))  # after the boot: another inode, another time
    (tmp_path / "mce-erst-2").write_bytes(MCE.pack(128))
    again = asyncio.run(batches(source, 1, last(first)))
    assert [item.origin.file for item in items(again) if isinstance(item, Record)] == [str(tmp_path / "mce-erst-2")]


def test_a_directory_that_vanishes_and_comes_again_is_read_on(tmp_path: Path) -> None:
    there, away = tmp_path / "there", tmp_path / "away"
    there.mkdir()
    (there / "mce-x-1").write_bytes(MCE.pack(128))

    async def move(seen: int) -> None:
        if seen == 1 and there.exists():
            there.rename(away)
            await asyncio.sleep(0.02)
            (away / "mce-x-2").write_bytes(MCE.pack(128))
            away.rename(there)

    found = asyncio.run(batches(CperDirectorySource(path=there, poll_s=0.005), 2, meanwhile=move))
    assert [item.origin.file[-1] for item in items(found) if isinstance(item, Record)][:1] == ["1"]
    assert "2" in {item.origin.file[-1] for item in items(found) if isinstance(item, Record)}


def test_one_file_is_followed_as_a_directory_is(tmp_path: Path) -> None:
    path = tmp_path / "mce-data-1"
    path.write_bytes(MCE.pack(128))
    source = CperDirectorySource(path=path, poll_s=0.005)
    assert banks(asyncio.run(batches(source, 1))) == [7]


def test_the_parts_of_a_kernels_last_log_are_read_as_one(tmp_path: Path) -> None:
    lines = [
        "<4>[   10.000000] mce: [Hardware Error]: CPU 2: Machine Check Exception: f Bank 1: bd80000000100134",
        "<4>[   10.000001] mce: [Hardware Error]: RIP 33:<0000000000401000>",
        "<4>[   10.000002] mce: [Hardware Error]: TSC 63d3fa6181b69 ADDR 12345400 MISC 86",
        "<4>[   10.000003] mce: [Hardware Error]: PROCESSOR 0:606a6 TIME 1647365323 SOCKET 1 APIC 8d microcode d0002e0",
    ]
    for part, some in ((1, lines[2:]), (2, lines[:2])):
        text = "".join(f"{line}\n" for line in some)
        (tmp_path / f"dmesg-erst-{7_000_000_000_000 + part}").write_text(f"Panic#1 Part{part}\n{text}")
    (record,) = items(asyncio.run(batches(CperDirectorySource(path=tmp_path, poll_s=0.005), 1)))
    assert isinstance(record, Record) and record.registers.addr == 0x12345400 and record.cpuid == 0x606A6


# --- a socket --------------------------------------------------------------------------------------------------------


def sent(tmp_path: Path, wanted: int, *parts: bytes) -> list[Batch]:
    path = tmp_path / "s"

    async def send(_seen: int) -> None:
        if not parts or tmp_path.joinpath("sent").exists():
            return
        for _attempt in range(500):
            if path.exists():
                break
            await asyncio.sleep(0.002)
        _, writer = await asyncio.open_unix_connection(path)
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()
        tmp_path.joinpath("sent").touch()

    return asyncio.run(batches(SocketSource(path), wanted, meanwhile=send))


def test_a_connection_sends_lines_or_blobs(tmp_path: Path) -> None:
    assert banks(sent(tmp_path, 2, b"lines\n", event(1).encode() + event(2).encode())) == [1, 2]


def test_a_blob_has_its_length_before_it(tmp_path: Path) -> None:
    blob = MCE.pack(128)
    assert banks(sent(tmp_path, 2, b"blobs\n", struct.pack("<I", len(blob)) + blob, struct.pack("<I", 128) + blob)) == [
        7,
        7,
    ]


def test_what_is_neither_is_shown(tmp_path: Path) -> None:
    (item,) = items(sent(tmp_path, 1, b"hello\n"))
    assert isinstance(item, Unrecognised) and item.raw == b"hello"


# --- /dev/mcelog -----------------------------------------------------------------------------------------------------


class Mcelog:
    """/dev/mcelog as the driver answers: whole records, the flag read and cleared at once."""

    def __init__(self, *reads: bytes, flags: tuple[int, ...] = (), record_bytes: int = 128) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._reads, self._flags, self._record_bytes = deque(reads), deque(flags), record_bytes

    def fileno(self) -> int:
        return self._theirs.fileno()

    def number(self, request: int) -> int:
        if request == GETCLEAR_FLAGS:
            return self._flags.popleft() if self._flags else 0
        return {GET_RECORD_LEN: self._record_bytes, GET_LOG_LEN: 32}[request]

    def read(self, size: int) -> bytes:
        assert size == 32 * self._record_bytes
        if not self._reads:
            raise BlockingIOError
        return self._reads.popleft()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


async def _followed(device: Mcelog, wanted: int) -> list[Batch]:
    found: list[Batch] = []
    done = asyncio.Event()

    async def take(batch: Batch) -> None:
        found.append(batch)
        if len(items(found)) >= wanted:
            done.set()

    task = asyncio.create_task(follow_device(device, "mcelog", "/dev/mcelog", take))
    await asyncio.wait({task, asyncio.create_task(done.wait())}, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    if task.done():
        await task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found


def test_whole_records_are_read_and_an_overflow_is_told() -> None:
    found = asyncio.run(_followed(Mcelog(MCE.pack(128) * 3, flags=(1,)), 4))
    assert banks(found) == [7, 7, 7]
    lost = items(found)[-1]
    assert isinstance(lost, Lost) and (lost.at_least, lost.exact) == (1, False)


def test_the_numbers_of_the_ioctls_are_those_of_the_header() -> None:
    # _IOR('M', 1, int) as a C compiler works it out from asm-generic/ioctl.h
    assert (GET_RECORD_LEN, GET_LOG_LEN, GETCLEAR_FLAGS) == (0x80044D01, 0x80044D02, 0x80044D03)


def test_a_structure_that_no_known_kernel_has_is_refused() -> None:
    with pytest.raises(SourceError, match="300 bytes"):
        asyncio.run(_followed(Mcelog(record_bytes=300), 1))


# --- all -------------------------------------------------------------------------------------------------------------


def test_each_source_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    sources: tuple[Source, ...] = (
        FileSource(nowhere), RasdaemonSource(path=nowhere), EdacSource(root=nowhere), CperDirectorySource(path=nowhere)
    )  # fmt: skip
    found: list[Availability] = [source.probe() for source in sources]
    assert all(each.presence is Presence.ABSENT and each.advice for each in found)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_forbidden_and_not_absent(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.touch(mode=0)
    assert FileSource(path).probe().presence is Presence.FORBIDDEN


def test_a_file_in_the_sockets_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(SourceError):
        asyncio.run(batches(SocketSource(path), 1))
    assert path.read_text() == "precious"
