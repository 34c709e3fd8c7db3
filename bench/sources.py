"""How many reports a second each source reads, through the code that runs in production; how overruns are noticed.

    python bench/sources.py [--reports 20000] [--only NAME]

Each source is followed as the service follows it (``Source.follow``), on generated input, and what it hands over is
counted and thrown away: this is the reading alone. Behind it every report that comes by itself is placed among the
known errors, written and judged, which takes longer (the last row): a source that tells more than that is held up, and
its kernel's buffer overruns. ``struct mce`` through a socket is told as a storm, and is not (bench/storm.py).

Files and sockets are real. /dev/kmsg, /dev/mcelog and tracefs need a kernel's permission: their devices are played by
objects that answer as the drivers do, so that the kernel's own part of a read is not in the number. Where a source can
overrun, it is made to, and the loss that it tells is shown. Rates are reports a second of this process's CPU time, the
sender's part of sockets and pipes among it: other work on the machine disturbs that less than it does wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.durable import COLUMNS, row
from bench.reports import BYTES, Storm
from ringfence.decision.policy import DEFAULT
from ringfence.journal.store import Journal
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import Origin, Record
from ringfence.record.repeats import Repeats
from ringfence.service.hearing import Told
from ringfence.service.loop import Loop
from ringfence.service.sources.attaching import Attaching
from ringfence.service.sources.cper_directory import CperDirectorySource
from ringfence.service.sources.edac_sysfs import EdacSource
from ringfence.service.sources.file_source import FileSource
from ringfence.service.sources.kmsg import KmsgSource
from ringfence.service.sources.mcelog_device import GET_LOG_LEN, GET_RECORD_LEN, GETCLEAR_FLAGS, OVERFLOW, follow_device
from ringfence.service.sources.rasdaemon_follow import RasdaemonSource
from ringfence.service.sources.socket_source import SocketSource
from ringfence.service.sources.source import Batch, Emit, Lost
from ringfence.service.sources.tracefs import TracefsSource
from ringfence.service.wiring import model_host
from tests.service.sources import ring_pages

PATIENCE_S: Final = 120.0
LOG_RECORDS: Final = 32
"""Of /dev/mcelog: what a machine of up to 32 CPUs has."""
EVENTS_A_PAGE: Final = 30

Follow = Callable[[Emit, Path, int], Coroutine[None, None, None]]


@dataclass(slots=True)
class Counted:
    """What a source has handed over."""

    reports: int = 0
    lost: int = 0
    why: str = ""

    async def emit(self, batch: Batch) -> None:
        """Count a batch, and throw it away."""
        for item in batch.items:
            if isinstance(item, Lost):
                self.lost += max(1, item.at_least)
                self.why = item.why
            else:
                self.reports += item.reports if isinstance(item, Repeats) else 1
        await asyncio.sleep(0)


# --- what a kernel logs -----------------------------------------------------------------------------------------------


def structs(reports: int) -> list[StructMce]:
    """A storm's reports, each by itself."""
    sent = Storm("bank").next(reports)
    return [StructMce.unpack(sent[at : at + BYTES]) for at in range(0, len(sent), BYTES)]


def lines(report: StructMce) -> list[str]:
    """A report as Linux prints it (mce_amd.c is not there, core.c __print_mce)."""
    return [
        f"mce: [Hardware Error]: CPU {report.extcpu}: Machine Check: 0 Bank {report.bank}: {report.status:016x}",
        f"mce: [Hardware Error]: TSC {report.tsc:x} ADDR {report.addr:x} MISC {report.misc:x} ",
        f"mce: [Hardware Error]: PROCESSOR 0:{report.cpuid:x} TIME {report.time} SOCKET 0 APIC 2 microcode 200005e",
    ]


def log(reports: int) -> str:
    """Reports as a kernel's log has them."""
    numbered = ((at, n, line) for at, each in enumerate(structs(reports)) for n, line in enumerate(lines(each)))
    return "".join(f"[{at:5}.{n:06}] {line}\n" for at, n, line in numbered)


class Kmsg:
    """/dev/kmsg: one record a read; a gap in the numbers is what was overwritten, of which EPIPE tells."""

    def __init__(self, reports: int) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._records = iter(list(self._made(reports)))
        self._ours.send(b".")

    @staticmethod
    def _made(reports: int) -> Iterator[bytes | None]:
        number = 0
        for at, report in enumerate(structs(reports)):
            if at == reports // 2:
                number += 1_000
                yield None
            for line in lines(report):
                yield b"4,%d,%d,-;%s\n" % (number, number * 10, line.encode())
                number += 1

    def fileno(self) -> int:
        """Readable as long as there are records."""
        return self._theirs.fileno()

    def read(self) -> bytes:
        """The next record."""
        try:
            found = next(self._records)
        except StopIteration:
            with suppress(BlockingIOError):
                self._theirs.recv(1)
            raise BlockingIOError from None
        if found is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return found

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self._theirs.close()


class Mcelog:
    """/dev/mcelog: whole records, as many as the log has; once, the flag that it was full."""

    def __init__(self, reports: int) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._structs, self._at, self._flags = Storm("bank").next(reports), 0, OVERFLOW

    def fileno(self) -> int:
        """Never readable."""
        return self._theirs.fileno()

    def number(self, request: int) -> int:
        """The answer to an ioctl."""
        if request == GETCLEAR_FLAGS:
            flags, self._flags = self._flags, 0
            return flags
        return {GET_RECORD_LEN: BYTES, GET_LOG_LEN: LOG_RECORDS}[request]

    def read(self, size: int) -> bytes:
        """The next records."""
        if self._at >= len(self._structs):
            raise BlockingIOError
        self._at += size
        return self._structs[self._at - size : self._at]

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self._theirs.close()


# --- each source ------------------------------------------------------------------------------------------------------


async def kmsg(emit: Emit, _place: Path, reports: int) -> None:
    """The kernel's log."""
    device = Kmsg(reports)
    await KmsgSource(open_device=lambda _: device, boot_id=lambda: "bench", wall_of_boot=lambda: 1e9).follow(emit)


async def mcelog(emit: Emit, _place: Path, reports: int) -> None:
    """The device."""
    await follow_device(Mcelog(reports), "mcelog", "/dev/mcelog", emit)


async def tracefs(emit: Emit, place: Path, reports: int) -> None:
    """mce:mce_record by binary pages; in one of them the kernel says that it has overwritten some."""
    instance = place / "instances" / "ringfence"
    event = ring_pages.MCE_6_1
    for base in (place, instance):
        there = base / "events" / event.system / event.name
        there.mkdir(parents=True)
        (there / "format").write_text(event.format())
        (there / "enable").write_text("0")
    (instance / "events" / "header_page").write_text(ring_pages.HEADER_PAGE)
    (instance / "trace_clock").write_text("local global [mono] boot")
    pipe = instance / "per_cpu" / "cpu0" / "trace_pipe_raw"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    payloads = [
        event.payload(
            {
                "status": each.status, "addr": each.addr, "misc": each.misc, "tsc": each.tsc, "walltime": each.time,
                "cpu": 1, "cpuid": each.cpuid, "bank": each.bank, "mcgcap": each.mcgcap,
            }
        )
        for each in structs(reports)
    ]  # fmt: skip
    pages = [
        ring_pages.page(at, [(at + number, raw) for number, raw in enumerate(payloads[at : at + EVENTS_A_PAGE])],
                        777 if at == EVENTS_A_PAGE else None)
        for at in range(0, reports, EVENTS_A_PAGE)
    ]  # fmt: skip
    keep = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)

    async def write() -> None:
        for each in pages:
            while True:
                try:
                    os.write(keep, each)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            await TracefsSource(places=(place,), wall_of_boot=lambda: 1e9).follow(emit)
    finally:
        os.close(keep)


async def rasdaemon(emit: Emit, place: Path, reports: int) -> None:
    """Its database, its table of machine checks."""
    path = place / "ras-mc_event.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE mce_record (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})")
        database.executemany(
            f"INSERT INTO mce_record VALUES (NULL{', ?' * len(COLUMNS)})", (row(each) for each in structs(reports))
        )
    await RasdaemonSource(path=path).follow(emit)


async def cper(emit: Emit, place: Path, reports: int) -> None:
    """A directory of records as pstore has them: one file each."""
    for number, report in enumerate(structs(reports)):
        (place / f"mce-erst-{number}").write_bytes(report.pack())
    await CperDirectorySource(path=place).follow(emit)


async def edac(emit: Emit, place: Path, reports: int) -> None:
    """Counters of 16 DIMMs that grow between any two looks; each growth of one is a report. One is reset midway."""
    dimms = [place / f"mc{number // 8}" / f"dimm{number % 8}" for number in range(16)]
    for each in dimms:
        each.mkdir(parents=True)
        (each / "dimm_label").write_text(each.name)
        (each / "dimm_ue_count").write_text("0\n")
    looks = reports // len(dimms)

    async def grow() -> None:
        for look in range(looks + 10):
            for each in dimms:
                (each / "dimm_ce_count").write_text(f"{1 if look == looks // 2 else look + 1}\n")
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        group.create_task(grow())
        await EdacSource(root=place, poll_s=0.0005, boot_id=lambda: "bench").follow(emit)


async def log_file(emit: Emit, place: Path, reports: int) -> None:
    """A kernel log as a file."""
    path = place / "kern.log"
    path.write_text(log(reports))
    await FileSource(path, lull_s=0.02).follow(emit)


async def socket_lines(emit: Emit, place: Path, reports: int) -> None:
    """The same through a socket."""
    await _through_socket(emit, place / "s", b"lines\n" + log(reports).encode())


async def socket_structs(emit: Emit, place: Path, reports: int) -> None:
    """``struct mce`` through a socket, told as a storm."""
    await _through_socket(emit, place / "s", b"structs %d\n" % BYTES + Storm("bank").next(reports))


async def _through_socket(emit: Emit, path: Path, sent: bytes) -> None:
    async def send() -> None:
        while not path.exists():
            await asyncio.sleep(0.001)
        _, writer = await asyncio.open_unix_connection(path)
        for at in range(0, len(sent), 1 << 16):
            writer.write(sent[at : at + (1 << 16)])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        await SocketSource(path).follow(emit)


SOURCES: Final[dict[str, tuple[Follow, float]]] = {
    "kmsg": (kmsg, 1),
    "tracefs": (tracefs, 1),
    "mcelog": (mcelog, 1),
    "rasdaemon": (rasdaemon, 1),
    "cper": (cper, 4),
    "edac": (edac, 4),
    "file": (log_file, 1),
    "socket lines": (socket_lines, 1),
    "socket structs": (socket_structs, 0.05),
}
"""Each source, and by how much fewer reports it is measured with than the others."""


# --- measuring --------------------------------------------------------------------------------------------------------


async def followed(name: str, place: Path, reports: int) -> tuple[Counted, float]:
    """What a source has handed over when so many reports have come, and the CPU seconds from its first one on."""
    follow, _ = SOURCES[name]
    counted, began = Counted(), [time.process_time()]

    async def emit(batch: Batch) -> None:
        if not counted.reports:
            began[0] = time.process_time()
        await counted.emit(batch)

    task = asyncio.ensure_future(follow(emit, place, reports))
    end = time.monotonic() + PATIENCE_S
    try:
        while counted.reports < reports and time.monotonic() < end and not task.done():
            await asyncio.sleep(0.005)
        return counted, time.process_time() - began[0]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def one_by_one(place: Path, reports: int) -> float:
    """Reports a CPU second that are placed, written and judged, each by itself."""
    host = model_host(DEFAULT, seed=1)
    placing = Attaching()
    records: list[Record] = [each.record(origin=Origin("s"), raw=each.pack()) for each in structs(reports)]
    with Journal(place / "journal.sqlite", fsync=False) as journal:
        loop = Loop(host, journal, DEFAULT)
        began = time.process_time()
        for record in records:
            loop.hear(Told("bench", (placing.place("bench", record),)))
        return reports / (time.process_time() - began)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--only", choices=SOURCES)
    asked = parser.parse_args()
    print(f"{'source':<16}{'reports':>9}{'a CPU second':>14}{'lost, told':>12}  why")
    all_came = True
    for name, (_, fewer) in SOURCES.items():
        if asked.only not in {None, name}:
            continue
        wanted = int(asked.reports / fewer)
        place = Path(tempfile.mkdtemp(prefix="rf-"))
        try:
            counted, took = asyncio.run(followed(name, place, wanted))
        finally:
            shutil.rmtree(place)
        all_came &= counted.reports >= wanted
        print(
            f"{name:<16}{counted.reports:>9}{counted.reports / took:>14,.0f}{counted.lost:>12}  {counted.why}",
            flush=True,
        )
    if asked.only is None:
        place = Path(tempfile.mkdtemp(prefix="rf-"))
        try:
            print(f"{'to the journal':<16}{2000:>9}{one_by_one(place, 2000):>14,.0f}")
        finally:
            shutil.rmtree(place)
    return 0 if all_came else 1


if __name__ == "__main__":
    sys.exit(main())
