"""How many errors a second are durable one by one, beside one transaction each; and how long one takes to be decided.

    python -m bench.durable [--reports 300000] [--rounds 3] [--spread row] [--latency-rate 1000] [--latency-seconds 20]
                            [--only throughput|latency]

**Throughput.** rasdaemon's store path (ras-record.c of 0.8.5, ``ras_store_mce_record``) is one INSERT of a table of 26
columns a record, each a transaction of its own, in a database that it opens with SQLite's defaults: a rollback journal,
synced at each commit (synchronous = FULL). That pattern is measured here by itself, in Python's sqlite3, with the same
columns; rasdaemon is not run. Beside it, on the same disk and in turns, a real ``ringfence run`` is sent ``struct mce``
through a socket as fast as it takes them. A report counts when it is in the journal (SQLite in WAL mode, synchronous =
FULL: synced at each commit, by groups), and only if it is there whole, with its own address, time and time stamp
counter: all are read back from the file and compared with what was sent. The goal is twenty times the peer's rate.

**Latency.** Reports at a steady rate, each with a number of its own; the time from before it is sent to when a reader
of the journal's file sees it, once it is durable. Its trends are evaluated by the same call of the writer's, right
after it is written. The goal is a 99th percentile under 5 ms. Beside it, in the same directory, right before and right
after: how long ``fdatasync`` alone takes there, of as many bytes as a transaction commonly writes, written over a file
that is there, and appended to one; and how late a process wakes that sleeps for a millisecond. Who waits for a disk and
for a CPU is not faster than these. A process beside it does both a hundred times a second all the while: reports that
came while the machine by itself was slow are told apart. It is said, too, how long the service's threads were ready to
run and had no CPU.

Missed goals end it with 1. On a machine that does other work as well, look at the ratio; times are worse than at rest.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.reports import BYTES, SPREADS, Storm
from bench.storm import cpu_s, service, status
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.repeats import TSC_AT, column, unpacked

GOAL_RATIO: Final = 20.0
GOAL_P99_MS: Final = 5.0
PEER_S: Final = 5.0
SETTLE_S: Final = 120.0
LOOK_S: Final = 0.0003

RAW_BYTES: Final = 4 * (4096 + 24)
"""A transaction of the journal commonly writes four pages to SQLite's WAL, each with a header of 24 bytes."""
RAW_ROOM: Final = 4 << 20
RAW_HZ: Final = 400
RAW_S: Final = 3.0
BESIDE_S: Final = 0.01
BESIDE_MS: Final = 2.5
"""A report waits for two transactions at most, the one before its own and its own: at twice this the goal is missed by
the machine alone."""
STRETCH_S: Final = 0.1

COLUMNS: Final = (
    "timestamp TEXT", "mcgcap INTEGER", "mcgstatus INTEGER", "status INTEGER", "addr INTEGER", "misc INTEGER",
    "ip INTEGER", "tsc INTEGER", "walltime INTEGER", "ppin INTEGER", "cpu INTEGER", "cpuid INTEGER", "apicid INTEGER",
    "socketid INTEGER", "cs INTEGER", "bank INTEGER", "cpuvendor INTEGER", "microcode INTEGER", "bank_name TEXT",
    "error_msg TEXT", "mcgstatus_msg TEXT", "mcistatus_msg TEXT", "mcastatus_msg TEXT", "user_action TEXT",
    "mc_location TEXT",
)  # fmt: skip
"""Of rasdaemon's table mce_record, its id aside."""


# --- the peer's pattern -----------------------------------------------------------------------------------------------


def row(report: StructMce) -> tuple[object, ...]:
    """What rasdaemon would put into its table for a report."""
    when = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(report.time))
    signed = report.status - (1 << 64) if report.status >> 63 else report.status
    return (
        when, report.mcgcap, report.mcgstatus, signed, report.addr, report.misc, report.ip, report.tsc, report.time,
        report.ppin, report.cpu, report.cpuid, report.apicid, report.socketid, report.cs, report.bank, report.cpuvendor,
        report.microcode, f"bank={report.bank:x}", "MEMORY CONTROLLER RD_CHANNEL1_ERR Transaction: Memory read error",
        "mcgstatus=0", "Corrected_error", "", "", "memory_channel=1",
    )  # fmt: skip


def one_by_one(directory: Path, storm: Storm) -> float:
    """Records a second with one transaction each."""
    structs = storm.next(1000)
    rows = [row(StructMce.unpack(structs[at : at + BYTES])) for at in range(0, len(structs), BYTES)]
    with closing(sqlite3.connect(directory / "peer.db", isolation_level=None)) as database:
        database.execute(f"CREATE TABLE IF NOT EXISTS mce_record (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})")
        insert = f"INSERT INTO mce_record VALUES (NULL{', ?' * len(COLUMNS)})"
        began, done = time.monotonic(), 0
        while time.monotonic() - began < PEER_S:
            database.execute(insert, rows[done % len(rows)])
            done += 1
        return done / (time.monotonic() - began)


# --- Ringfence --------------------------------------------------------------------------------------------------------


def structs_in(journal: Path) -> Iterator[bytes]:
    """Every report that the journal keeps by itself, as it came."""
    with Reader(journal) as reader:
        for _, event in reader.events(kinds=(ev.Received, ev.Repeated)):
            if isinstance(event, ev.Received):
                yield event.record.raw
            elif isinstance(event, ev.Repeated) and event.packed:
                structs = unpacked(event.packed, event.struct_bytes, event.reports)
                yield from (structs[at : at + event.struct_bytes] for at in range(0, len(structs), event.struct_bytes))


def by_groups(directory: Path, storm: Storm, reports: int) -> float:
    """Reports a second from the first one sent until the last one is durable. Raises SystemExit if one is not kept."""
    sent = b"".join(storm.next(1000) for _ in range(reports // 1000))
    with service(directory, f"socket:{directory / 'in'}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sender:
            sender.connect(str(directory / "in"))
            sender.sendall(b"structs %d\n" % BYTES)
            began = time.monotonic()
            sender.sendall(sent)
        while (received := status(directory)["received"]) < reports:
            if time.monotonic() - began > SETTLE_S:
                raise SystemExit(f"{reports - received} of {reports} reports are not durable after {SETTLE_S:.0f} s")
            time.sleep(0.01)
        took = time.monotonic() - began
    kept = Counter(structs_in(directory / "journal.sqlite"))
    if kept != Counter(sent[at : at + BYTES] for at in range(0, len(sent), BYTES)):
        raise SystemExit("what the journal keeps is not what was sent")
    return reports / took


def throughput(asked: argparse.Namespace, directory: Path) -> bool:
    """Both in turns; whether the goal was met."""
    peer, ours = list[float](), list[float]()
    for turn in range(asked.rounds):
        for run, rates in ((one_by_one, peer), (None, ours)):
            place = directory / f"{turn}{'p' if run else 'r'}"
            place.mkdir()
            storm = Storm(asked.spread, turn)
            rates.append(run(place, storm) if run else by_groups(place, storm, asked.reports))
        print(f"turn {turn + 1}: one by one {peer[-1]:,.0f} a second, by groups {ours[-1]:,.0f}", flush=True)
    ratio = statistics.median(ours) / statistics.median(peer)
    met = ratio >= GOAL_RATIO
    print(f"durable: {ratio:.1f} times one transaction each; goal {GOAL_RATIO:.0f}: {'met' if met else 'MISSED'}")
    return met


# --- the machine by itself --------------------------------------------------------------------------------------------


def syncs(directory: Path, *, over: bool) -> list[float]:
    """How long each ``fdatasync`` took, ms: of bytes written ``over`` a file, or appended to it."""
    took_ms = list[float]()
    data = os.urandom(RAW_BYTES)
    path = directory / "raw"
    with path.open("w+b", buffering=0) as file:
        if over:
            file.write(bytes(RAW_ROOM))
        os.fsync(file.fileno())
        began, at = time.monotonic(), 0
        for number in range(int(RAW_HZ * RAW_S)):
            time.sleep(max(0.0, began + number / RAW_HZ - time.monotonic()))
            os.pwrite(file.fileno(), data, at)
            at += RAW_BYTES
            at = 0 if over and at + RAW_BYTES > RAW_ROOM else at
            before = time.monotonic()
            os.fdatasync(file.fileno())
            took_ms.append((time.monotonic() - before) * 1000)
    path.unlink()
    return took_ms


def wakings() -> list[float]:
    """How much later than asked for a sleep of a millisecond ends, ms."""
    late_ms = list[float]()
    for _ in range(int(RAW_S * 500)):
        before = time.monotonic()
        time.sleep(0.001)
        late_ms.append((time.monotonic() - before) * 1000 - 1)
    return late_ms


def told(values_ms: list[float]) -> str:
    """Median, 99th percentile and the worst of some times."""
    found = sorted(values_ms)
    return f"median {found[len(found) // 2]:.2f}, p99 {found[len(found) * 99 // 100]:.2f}, worst {found[-1]:.2f}"


def machine(directory: Path, when: str) -> None:
    """Say what disk and CPU take by themselves."""
    over, appended = syncs(directory, over=True), syncs(directory, over=False)
    print(f"{when}, ms: fdatasync of {RAW_BYTES} bytes: {told(over)}; appended: {told(appended)}")
    print(f"{when}, ms: late from a sleep of 1 ms: {told(wakings())}", flush=True)


# --- the machine meanwhile --------------------------------------------------------------------------------------------


def beside(directory: str) -> None:
    """Sleep and ``fdatasync`` in turns until standard input ends; prints when, and by how much either was slow."""
    seen = list[tuple[float, float]]()
    data = os.urandom(RAW_BYTES)
    with (Path(directory) / "beside").open("w+b", buffering=0) as file:
        file.write(bytes(RAW_ROOM))
        os.fsync(file.fileno())
        while not select.select([sys.stdin], [], [], 0)[0]:
            before = time.monotonic()
            time.sleep(BESIDE_S)
            late_ms = (time.monotonic() - before - BESIDE_S) * 1000
            os.pwrite(file.fileno(), data, len(seen) * RAW_BYTES % (RAW_ROOM - RAW_BYTES))
            began = time.monotonic()
            os.fdatasync(file.fileno())
            seen.append((before, max(late_ms, (time.monotonic() - began) * 1000)))
            seen.append((time.monotonic(), seen[-1][1]))
    print(json.dumps(seen))


def waited_s(pid: int) -> float:
    """How long a process' threads that live were ready to run and had no CPU (Linux, Documentation/scheduler/
    sched-stats.rst: the second number of /proc/PID/task/TID/schedstat, nanoseconds).
    """
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[1]) for each in threads) / 1e9


def slow_stretches(seen: list[tuple[float, float]]) -> set[int]:
    """The stretches of time in which disk or CPU took long by themselves, and those right behind them."""
    slow = {int(at / STRETCH_S) for at, ms in seen if ms > BESIDE_MS}
    return slow | {each + 1 for each in slow}


# --- latency ----------------------------------------------------------------------------------------------------------


def send(path: str, rate: int, seconds: float, spread: str) -> None:
    """Send reports one by one; prints the time before each, by its time stamp counter."""
    storm, sent = Storm(spread), dict[int, float]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sender:
        sender.connect(path)
        sender.sendall(b"structs %d\n" % BYTES)
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            report = storm.next(1)
            sent[int.from_bytes(report[TSC_AT : TSC_AT + 8], "little")] = time.monotonic()
            sender.sendall(report)
    print(json.dumps(sent))


def follow(journal: Path, wanted: int, end: float) -> list[tuple[float, str]]:
    """The texts of what is written until there are so many reports, or until it is time; each with when it was there.

    It is decoded afterwards: what is measured has as much of the machine as can be.
    """
    found = list[tuple[float, str]]()
    after, reports = 0, 0
    query = (
        "SELECT number, text, coalesce(json_extract(text, '$.reports'), 1) FROM event WHERE number > ? AND kind IN {}"
    )
    query = query.format("('Received', 'Repeated') ORDER BY number")
    with closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as database:
        while reports < wanted and time.monotonic() < end:
            rows = database.execute(query, (after,)).fetchall()
            now = time.monotonic()
            for number, text, count in rows:
                after, reports = number, reports + count
                found.append((now, text))
            time.sleep(LOOK_S)
    return found


def latency(asked: argparse.Namespace, directory: Path) -> bool:
    """Whether the goal was met."""
    journal = directory / "journal.sqlite"
    wanted = int(asked.latency_rate * asked.latency_seconds)
    machine(directory, "before")
    with service(directory, f"socket:{directory / 'in'}") as process:
        words = [str(directory / "in"), str(asked.latency_rate), str(asked.latency_seconds), asked.spread]
        command = [sys.executable, "-m", "bench.durable", "send", *words]
        used_s, ready_s = cpu_s(process.pid), waited_s(process.pid)
        watching = [sys.executable, "-m", "bench.durable", "beside", str(directory)]
        with (
            subprocess.Popen(watching, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher,
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender,
        ):
            found = follow(journal, wanted, time.monotonic() + asked.latency_seconds + SETTLE_S)
            assert sender.stdout is not None
            sent: dict[str, float] = json.loads(sender.stdout.read())
            meanwhile: list[tuple[float, float]] = json.loads(watcher.communicate("end")[0])
        used_s, ready_s = cpu_s(process.pid) - used_s, waited_s(process.pid) - ready_s
    machine(directory, "after")
    seen = dict[int, float]()
    for now, text in found:
        event = ev.from_text(text)
        if isinstance(event, ev.Repeated):
            structs = unpacked(event.packed, event.struct_bytes, event.reports)
            seen.update(dict.fromkeys(column(structs, event.struct_bytes, TSC_AT), now))
        elif isinstance(event, ev.Received) and event.record.registers.tsc is not None:
            seen[event.record.registers.tsc] = now
    took = [(began, seen[int(number)]) for number, began in sent.items() if int(number) in seen]
    took_ms = sorted((end - began) * 1000 for began, end in took)
    slow = slow_stretches(meanwhile)
    apart = [(end - began) * 1000 for began, end in took if int(began / STRETCH_S) not in slow]
    p99 = took_ms[len(took_ms) * 99 // 100]
    met = len(took_ms) == len(sent) and p99 < GOAL_P99_MS
    print(
        f"{len(sent)} errors at {asked.latency_rate} a second, {len(sent) - len(took_ms)} not in the journal; "
        f"ms until durable: {told(took_ms)}; in {len(found)} groups, {used_s / asked.latency_seconds:.2f} of a CPU; "
        f"goal p99 {GOAL_P99_MS:.0f}: {'met' if met else 'MISSED'}"
    )
    print(
        f"the service's threads were ready to run and had no CPU for {ready_s:.1f} s of {asked.latency_seconds:.0f} s"
    )
    print(f"meanwhile, ms: the slower of fdatasync and waking by themselves: {told([ms for _, ms in meanwhile])}")
    if apart:
        print(f"while neither took more than {BESIDE_MS} ms ({len(apart)} errors), ms until durable: {told(apart)}")
    return met


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spread", choices=SPREADS, default="row")
    parser.add_argument("--latency-rate", type=int, default=1_000)
    parser.add_argument("--latency-seconds", type=float, default=20.0)
    parser.add_argument("--only", choices=("throughput", "latency"), help="one of the two")
    asked = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="rf-"))
    try:
        (directory / "latency").mkdir()
        print(f"load of the machine {os.getloadavg()[0]:.1f}")
        met = [
            each(asked, place)
            for name, each, place in (
                ("throughput", throughput, directory),
                ("latency", latency, directory / "latency"),
            )
            if asked.only in {None, name}
        ]
        print(f"load of the machine {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if all(met) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["beside"]:
        beside(sys.argv[2])
        sys.exit(0)
    if sys.argv[1:2] == ["send"]:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
        sys.exit(0)
    sys.exit(main())
