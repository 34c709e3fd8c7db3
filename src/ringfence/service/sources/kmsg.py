"""The kernel's log, /dev/kmsg: every message since boot that is still in the ring, then each new one.

Format (Linux Documentation/ABI/testing/dev-kmsg): ``PREFIX,SEQUENCE,MICROSECONDS,FLAGS[,key=value...];TEXT`` and lines
" KEY=value" behind it; PREFIX is facility * 8 + level; what is not printable ASCII stands as ``\\xNN``. One read gives
one record; EPIPE says that the next record was overwritten, and the read after it gives the oldest that is left; EINVAL
says that the buffer is too small for the record.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from ringfence.arch.cpuid import Signature
from ringfence.errors import SourceError
from ringfence.record.evidence import Evidence, Record
from ringfence.record.sources import LULL_S
from ringfence.record.text.lines import RawLine
from ringfence.service.sources.log_clock import LogClock
from ringfence.service.sources.source import (
    CHECKPOINT_S,
    Availability,
    Batch,
    Emit,
    Item,
    Lost,
    Position,
    Resumption,
    as_position,
    of_position,
    reachable,
    readable,
)
from ringfence.service.sources.text_assembly import Marked, TextAssembly
from ringfence.service.sources.this_machine import completed

RECORD_BYTES: Final = 16_384
"""More than a record has: the kernel's own limit is 8192 (CONSOLE_EXT_LOG_MAX, later PRINTK_MESSAGE_MAX + prefix)."""

_YIELD_RECORDS: Final = 256
"""So many records are read before other work gets its turn, though more are there."""

_KERNEL: Final = 0
"""Facility of what the kernel itself said (LOG_KERN). Others are programs that wrote to /dev/kmsg."""

_RECORD = re.compile(
    rb"(?P<prefix>\d{1,10}),(?P<sequence>\d{1,20}),(?P<micros>\d{1,20}),(?P<flags>[^,;]*)(?P<more>(?:,[^;]*)?);(?P<text>[^\n]*)"
)
_CALLER = re.compile(rb",caller=([TC]\d{1,10})")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class KmsgRecord:
    """One record: ``sequence`` is counted from the boot, ``micros`` on the kernel's local clock since boot.

    ``continues``: it is a fragment of a line that another record began (flag ``c`` or, up to Linux 4.8, ``+``).
    """

    facility: int
    level: int
    sequence: int
    micros: int
    continues: bool
    caller: str | None
    text: bytes
    raw: bytes


def parse(raw: bytes) -> KmsgRecord | None:
    """One record as read from the device; None if it is none."""
    match = _RECORD.match(raw)
    if match is None:
        return None
    prefix = int(match["prefix"])
    caller = _CALLER.search(match["more"])
    return KmsgRecord(
        facility=prefix >> 3,
        level=prefix & 7,
        sequence=int(match["sequence"]),
        micros=int(match["micros"]),
        continues=match["flags"][:1] in {b"c", b"+"},
        caller=caller[1].decode() if caller else None,
        text=_ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), match["text"]),
        raw=raw,
    )


def log_lines(record: KmsgRecord) -> Iterator[tuple[bytes, bytes]]:
    """The raw bytes and the text of each line of a record, as dmesg shows it: with time and caller before it.

    A fragment has no time before it, so that the reader of lines can join it to the line that stands right before.
    """
    stamp = b"" if record.continues else b"[%5d.%06d]" % divmod(record.micros, 1_000_000)
    caller = b"[%6s]" % record.caller.encode() if record.caller and not record.continues else b""
    raw = record.raw
    for text in record.text.split(b"\n"):
        yield raw, b"%s%s %s" % (stamp, caller, text) if stamp else text
        raw = text


class Device(Protocol):
    """An open /dev/kmsg: ``read`` gives one record, or raises as read(2) of the device does."""

    def fileno(self) -> int:
        """What can be polled."""

    def read(self) -> bytes:
        """One record. Raises BlockingIOError, BrokenPipeError (overrun), other OSErrors."""

    def close(self) -> None:
        """Give it up."""


class KmsgDevice:
    """The real device, at the oldest record that is kept (which is where open(2) leaves it)."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(path, error.strerror or str(error), advice=_FORBIDDEN) from error

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def read(self) -> bytes:
        """One record."""
        return os.read(self._descriptor, RECORD_BYTES)

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class _Position:
    boot: str
    next: int


_ABSENT = "The kernel was built without CONFIG_PRINTK, or the container has no /dev/kmsg: pass the device in."
_FORBIDDEN = (
    "Run as root, or give the process CAP_SYSLOG: with kernel.dmesg_restrict=1 reading the log needs it; a unit needs "
    "DeviceAllow=/dev/kmsg."
)


_OVERWRITTEN = (
    "the log's ring was overwritten before it was read, or a record had no known form (log_buf_len= enlarges it)"
)


def current_boot() -> str:
    """The number that the kernel gave this boot. Raises SourceError where it cannot be read."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError as error:
        advice = "See that /proc is mounted; a unit needs ProcSubset=all."
        raise SourceError(BOOT_ID, error.strerror or str(error), advice=advice) from error


@dataclass(frozen=True, slots=True)
class KmsgSource:
    """Evidence in the kernel's log, from the oldest message kept.

    ``lull_s``: after so much silence an event's lines are taken to be all there. ``boot_id`` and ``open_device`` are
    asked when following begins, ``wall_of_boot`` for each record: reports of one error are joined by their times, also
    after the wall clock was set.
    """

    name: str = "kmsg"
    path: Path = Path("/dev/kmsg")
    lull_s: float = LULL_S
    checkpoint_s: float = CHECKPOINT_S
    boot_id: Callable[[], str] = current_boot
    wall_of_boot: Callable[[], float] = field(default_factory=LogClock)
    open_device: Callable[[Path], Device] = KmsgDevice
    processor: Signature | None = None
    """This machine's, for machine checks that name none."""
    clock: str = field(
        default="the kernel's local clock since boot, which stands still in suspend and can be off by milliseconds "
        "between CPUs; made wall time with the difference at reading, so a wall clock that was set since then shows in "
        "it",
        init=False,
    )
    resumption: Resumption = field(default=Resumption.POSITION, init=False)

    def probe(self) -> Availability:
        """Whether the device is there and this process may read it."""
        return reachable(self.path, absent=_ABSENT, forbidden=_FORBIDDEN)

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """Every piece of evidence in the log since ``since``, then each new one."""
        boot = self.boot_id()
        reading = _Reading(self, boot, of_position(since, _Position) if since is not None else None)
        device = self.open_device(self.path)
        try:
            await self._follow(device, reading, emit)
        finally:
            device.close()

    async def _follow(self, device: Device, reading: _Reading, emit: Emit) -> None:
        told = time.monotonic()
        while True:
            for _ in range(_YIELD_RECORDS):
                try:
                    reading.take(device.read())
                except BlockingIOError:
                    break
                except OSError as error:
                    # EPIPE: overwritten; EINVAL: longer than the buffer. Both show in the next record's number.
                    if error.errno not in {errno.EPIPE, errno.EINVAL, errno.EINTR}:
                        raise SourceError(self.path, str(error), advice="See the kernel log.") from error
            now = time.monotonic()
            items = reading.settled(now)
            if items or (reading.has_advanced and now - told >= self.checkpoint_s):
                await emit(Batch(self.name, tuple(items), reading.position))
                told = now
            wait_s = reading.completes_in_s(now)
            await readable(device.fileno(), self.checkpoint_s if wait_s is None else wait_s)


class _Reading:
    """What has been read of the log of one boot."""

    def __init__(self, source: KmsgSource, boot: str, since: _Position | None) -> None:
        self._source, self._boot = source, boot
        self._resumed = since.next if since is not None and since.boot == boot else 0
        self._next = self._resumed
        self._text = TextAssembly(str(source.path), self._resumed)
        self._line = 0
        self._told = self._resumed
        self._items: list[Item] = []
        if since is not None and since.boot != boot:
            why = f"the host was restarted: what its kernel logged after record {since.next} of that boot was not read"
            self._items.append(Lost(source.name, 0, False, "log records", why))

    @property
    def position(self) -> Position:
        self._told = self._text.settled
        return as_position(_Position(self._boot, self._told))

    @property
    def has_advanced(self) -> bool:
        return self._text.settled > self._told

    def take(self, raw: bytes) -> None:
        record = parse(raw)
        if record is None or record.sequence < self._resumed:
            # One that is none shows as a gap in the numbers.
            return
        if record.sequence > self._next:
            gap = record.sequence - self._next
            self._items.extend(self._timed(item) for item in self._text.skip(record.sequence))
            self._items.append(Lost(self._source.name, gap, True, "log records", _OVERWRITTEN))
            self._line += gap
        self._next = record.sequence + 1
        if record.facility != _KERNEL:
            self._line += 1
            self._text.pass_over(self._next)
            return
        for raw_line, text in log_lines(record):
            self._line += 1
            self._text.feed(Marked(RawLine(self._line, raw_line, text), self._next))

    def completes_in_s(self, now_s: float) -> float | None:
        return self._text.completes_in_s(now_s, self._source.lull_s)

    def settled(self, now_s: float) -> list[Item]:
        """What can be handed over now."""
        found = self._text.silent() if self.completes_in_s(now_s) == 0 else self._text.ready()
        items, self._items = [*self._items, *(self._timed(item) for item in found)], []
        return items

    def _timed(self, item: Evidence) -> Evidence:
        """A record that gives no wall time gets the one that its stamp means; one of no processor this machine's."""
        item = completed(item, self._source.processor)
        if not isinstance(item, Record) or item.time is not None or item.stamp is None:
            return item
        try:
            return replace(item, time=self._source.wall_of_boot() + float(item.stamp))
        except ValueError:
            return item
