"""Upkeep of a journal that is written: the part that takes time, in a process of its own.

``python -m ringfence.journal.prepare`` takes a ``Request`` (MessagePack) on standard input and gives a ``Prepared`` or
a ``Failed`` on standard output. It only reads the journal (and writes the archive): folding events takes the
interpreter's lock and memory, which the process that must act cannot spare. What it prepares is put into the journal by
the writer, in short steps.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from ringfence.errors import JournalDamagedError, RingfenceError
from ringfence.journal.archive import Archive
from ringfence.journal.recall import recall
from ringfence.journal.retention import Bounds, Plan, plan
from ringfence.journal.snapshot import SHAPE, encode
from ringfence.journal.store import Reader

LEAST_IMPORTANT: Final = 19
"""nice(1): it has all the time that nobody else wants."""


class Request(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What may be needed of a journal's upkeep. ``archive`` is a directory, empty for none.

    ``verify``: nothing is needed but to read all of it and see whether it is what was written.
    """

    journal: str
    snapshot_every_events: int
    bounds: Bounds
    now_wall_ms: int
    archive: str = ""
    archive_bytes: int = 0
    verify: bool = False


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the state after event ``number``, whose CRC is ``crc``."""

    number: int
    crc: int
    version: int
    data: bytes


class Prepared(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What is needed now. ``passed_over`` says what is wrong with snapshots that are there."""

    snapshot: Made | None = None
    plan: Plan | None = None
    passed_over: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It could not be prepared; ``damaged`` says that the journal is."""

    message: str
    advice: str
    damaged: bool = False


Reply = Prepared | Failed


def prepare(request: Request) -> Reply:
    """Look what is needed, and make it."""
    try:
        with Reader(request.journal) as reader:
            if request.verify:
                reader.check()
                return Prepared()
            known = recall(reader)
            snapshot = None
            if known.number - known.since >= request.snapshot_every_events:
                crc, data = reader.crc_at(known.number), encode(known.state)
                snapshot = Made(number=known.number, crc=crc, version=SHAPE, data=data)
            archive = Archive(Path(request.archive), request.archive_bytes) if request.archive else None
            wanted = plan(reader, request.bounds, request.now_wall_ms, archive)
    except RingfenceError as error:
        return Failed(message=str(error), advice=error.advice, damaged=isinstance(error, JournalDamagedError))
    except OSError as error:
        return Failed(message=f"the archive: {error}", advice="See that its disk works and has room.")
    return Prepared(snapshot=snapshot, plan=wanted, passed_over=known.passed_over)


def main() -> None:
    """The process."""
    with suppress(OSError):  # then it takes its share
        os.nice(LEAST_IMPORTANT)
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.msgpack.encode(prepare(request)))


if __name__ == "__main__":
    main()
