"""Runs a deed on a journal and kills it at each of its steps in turn: every SQL statement, every file touched.

``python -m tests.journal.killed DEED DIRECTORY`` forks once for each step; the child ends as by SIGKILL, with nothing
flushed and nothing closed. What is left is looked at each time. Prints how many steps there were.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ringfence.journal import events as ev
from ringfence.journal import schema
from ringfence.journal.backup import backup
from ringfence.journal.recall import recall, remember
from ringfence.journal.retention import carry_out, plan_upto, tidy
from ringfence.journal.salvage import opened, set_aside
from ringfence.journal.store import Journal, Reader
from tests.journal.histories import history, state_after, written

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "sqlite3.connect"}
KILLED = 9

Report = Callable[[int], None]
EVENTS = history(1)[:70]


class Steps:
    """Counts steps; at the planned one it kills."""

    def __init__(self, kill_at: int) -> None:
        self.left = kill_at

    def tick(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(KILLED)

    def heard(self, event: str, _: tuple[object, ...]) -> None:
        """An audit hook (PEP 578): files that are touched."""
        if event in TOUCHES:
            self.tick()

    def begin(self) -> None:
        connect = sqlite3.connect

        def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(self.tick)
            return connection

        sqlite3.connect = counted  # type: ignore[assignment]  # in this process alone, which is about to end
        sys.addaudithook(self.heard)


def killed(kill_at: int, deed: Callable[[Report], None]) -> tuple[bool, int]:
    """Do it in a process of its own: whether it was killed, and the last number that was reported as durable."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        Steps(kill_at).begin()
        deed(lambda number: (os.write(writing, b"%d\n" % number), None)[1])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as reports:
        numbers = [int(line) for line in reports]
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, KILLED}, code
    return code == KILLED, max(numbers, default=0)


def walk(begin: Callable[[], object], deed: Callable[[Report], None], look: Callable[[int], object]) -> int:
    """Kill a deed at its first step, its second, ... until it ends by itself. Returns how many steps it had."""
    kill_at = 0
    alive = False
    while not alive:
        kill_at += 1
        begin()
        was_killed, durable = killed(kill_at, deed)
        look(durable)
        alive = not was_killed
    return kill_at - 1


def fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory / "journal.sqlite"


def sound(path: Path, durable: int, sequence: tuple[ev.Event, ...]) -> None:
    """All that was reported durable is there once, and the state is that of all that is there."""
    with Reader(path) as reader:
        reader.check()
        last = reader.last
        assert last >= durable, (last, durable)
        assert recall(reader).state == state_after(sequence[:last])
        numbers = [number for number, _ in reader.events()]
    assert len(numbers) == len(set(numbers))
    assert all(ev.to_text(sequence[number - 1]) for number in numbers)
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        for _ in tidy(journal):
            pass
        assert [number for number, _ in journal.events()] == numbers
        assert journal.append(ev.Stopped(at_ms=1)) == last + 1


def upkeep(directory: Path) -> int:
    """Appending, snapshots and two compactions."""
    path = directory / "walk" / "journal.sqlite"
    whole = directory / "whole.sqlite"
    written(whole, EVENTS[:40]).close()

    def begin() -> None:
        shutil.copy(whole, fresh(path.parent))

    def deed(report: Report) -> None:
        with Journal(path, fsync=False, reserve_bytes=0) as journal:
            report(journal.append(*EVENTS[40:50]))
            for upto in (20, 45):
                for _ in carry_out(journal, plan_upto(journal, upto, "the test"), 7):
                    report(journal.last)
                report(journal.append(*EVENTS[50 if upto == 20 else 60 :][:10]))
            remember(journal, recall(journal).state)

    begin()
    deed(lambda _: None)
    compactions: list[ev.Event] = []
    with Reader(path) as reader:
        compactions += (event for _, event in reader.events() if isinstance(event, ev.Compacted))
    first, second = compactions
    sequence = (*EVENTS[:50], first, *EVENTS[50:60], second, *EVENTS[60:70])
    return walk(begin, deed, lambda durable: sound(path, durable, sequence))


def salvage(directory: Path) -> int:
    """The start of a service on a damaged journal."""
    path = directory / "walk" / "journal.sqlite"
    whole = directory / "whole.sqlite"
    written(whole, EVENTS).close()
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("DROP TRIGGER no_delete")
        connection.execute("DELETE FROM event WHERE number > 40")
        connection.commit()
    damaged = whole.read_bytes()

    def deed(report: Report) -> None:
        with opened(path) as journal:
            report(journal.append(ev.Stopped(at_ms=5)))

    def look(durable: int) -> None:
        with opened(path) as journal:
            events = dict(journal.events())
            assert {number: events[number] for number in range(1, 41)} == dict(enumerate(EVENTS[:40], 1))
            assert isinstance(events[len(EVENTS) + 1], ev.Salvaged)
            assert journal.last >= durable
            assert not durable or events[durable] == ev.Stopped(at_ms=5)
        (aside,) = set_aside(path)
        assert aside.read_bytes() == damaged
        left = {each.name.removeprefix("journal.sqlite") for each in path.parent.iterdir()}
        name = aside.name.removeprefix("journal.sqlite")
        assert left <= {"", ".lock", ".reserve", name, f"{name}-wal", f"{name}-shm"}, left
        with Reader(path) as reader:
            reader.check()

    return walk(lambda: shutil.copy(whole, fresh(path.parent)), deed, look)


def upgrade(directory: Path) -> int:
    """The first start on a file of schema 1."""
    path = directory / "walk" / "journal.sqlite"
    whole = directory / "whole.sqlite"
    crc = 0
    with closing(sqlite3.connect(whole)) as connection:
        for statement in schema.MIGRATIONS[0]:
            connection.execute(statement)
        for number, event in enumerate(EVENTS, 1):
            columns = (number, event.at_ms, type(event).__name__, getattr(event, "case", None), ev.to_text(event))
            crc = zlib.crc32("\0".join(map(str, columns)).encode(), crc)
            connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", (*columns, crc))
        connection.execute("UPDATE head SET number = ?, crc = ?", (len(EVENTS), crc))
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()

    def deed(report: Report) -> None:
        with Journal(path, fsync=False, reserve_bytes=0) as journal:
            report(journal.append(ev.Stopped(at_ms=5)))

    def look(durable: int) -> None:
        sound(path, max(durable, len(EVENTS)), (*EVENTS, ev.Stopped(at_ms=5)))

    return walk(lambda: shutil.copy(whole, fresh(path.parent)), deed, look)


def copying(directory: Path) -> int:
    """A backup over an older one."""
    path, copy = directory / "walk" / "journal.sqlite", directory / "walk" / "copy.sqlite"
    whole, older = directory / "whole.sqlite", directory / "older.sqlite"
    written(whole, EVENTS).close()
    written(older, EVENTS[:9]).close()

    def begin() -> None:
        shutil.copy(whole, fresh(path.parent))
        shutil.copy(older, copy)

    def look(_: int) -> None:
        with Reader(copy) as reader:
            assert reader.check() in {9, len(EVENTS)}
        with Reader(path) as reader:
            assert reader.check() == len(EVENTS)
        backup(path, copy)

    return walk(begin, lambda _: (backup(path, copy), None)[1], look)


DEEDS = {"upkeep": upkeep, "salvage": salvage, "upgrade": upgrade, "backup": copying}

if __name__ == "__main__":
    sys.stdout.write(f"{DEEDS[sys.argv[1]](Path(sys.argv[2]))}\n")
