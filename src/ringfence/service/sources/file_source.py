"""A log file followed as it grows and is rotated, or a unix socket: for machines without the rest, and for tests.

A file is followed by its inode, as ``tail -F`` does: what is renamed is read to its end before the new file is begun,
and a file that has shrunk was truncated in place. Watching is by polling, which works on every file system.

A socket is listened on; each connection says by its first line what it sends: ``lines`` (a log) or ``blobs`` (each a
32-bit little-endian length and so many bytes of any binary form of evidence).
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.record import binary
from ringfence.record.binary.pstore import PstoreText
from ringfence.record.evidence import Evidence, Origin, Unrecognised
from ringfence.record.sources import LULL_S, MAX_PARTIAL_LINE_BYTES
from ringfence.record.text import reader as text_reader
from ringfence.record.text.lines import RawLine
from ringfence.service.sources.source import (
    CHECKPOINT_S,
    Availability,
    Batch,
    Emit,
    Item,
    Lost,
    Position,
    Presence,
    Resumption,
    as_position,
    of_position,
    reachable,
)
from ringfence.service.sources.text_assembly import Marked, TextAssembly

POLL_S: Final = 0.25
_CHUNK_BYTES: Final = 1 << 18
"""So much is read before the evidence in it is handed over."""

SOCKET_LULL_S: Final = 0.02
"""A program sends the lines of a record in one write; a kernel's serial console may take longer between two."""

MAX_BLOB_BYTES: Final = 16 << 20
"""The longest blob that a connection may send: ERST records and BERT regions have some KiB."""

MAX_CONNECTIONS: Final = 16

_ABSENT = "Name a file that exists, or will: the directory must be there."
_FORBIDDEN = "Give the service's user read access (group adm on Debian, systemd-journal for exported journals)."


@dataclass(frozen=True, slots=True)
class _Position:
    device: int
    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class FileSource:
    """A text log, from its beginning (or where it was left), through every rotation that leaves the old file a name."""

    path: Path
    name: str = "file"
    lull_s: float = LULL_S
    poll_s: float = POLL_S
    clock: str = field(
        default="the log's own stamps: a wall clock if they have a date, a year and a zone, else none", init=False
    )
    resumption: Resumption = field(default=Resumption.POSITION, init=False)

    def probe(self) -> Availability:
        """Whether the file is there and may be read."""
        return reachable(self.path, absent=_ABSENT, forbidden=_FORBIDDEN)

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """Every piece of evidence since ``since``, then each new one. A file that is not there yet is waited for."""
        start = of_position(since, _Position) if since is not None else None
        ended: os.stat_result | None = None
        while True:
            descriptor, offset = self._open(start, ended)
            if descriptor is None:
                await asyncio.sleep(self.poll_s)
                continue
            try:
                await self._follow_one(descriptor, offset, start, emit)
                start, ended = None, os.fstat(descriptor)
            finally:
                os.close(descriptor)

    def _open(self, since: _Position | None, ended: os.stat_result | None) -> tuple[int | None, int]:
        """The file to go on with and where.

        The one that ``since`` names, if it still has a name; after one that ``ended``, the next younger.
        """
        if since is not None:
            for path in (self.path, *self._rotated()):
                with suppress(OSError):
                    status = path.stat()
                    if (status.st_dev, status.st_ino) == (since.device, since.inode):
                        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), since.offset
        younger = [] if ended is None else [path for path in self._rotated() if _is_younger(path, ended)]
        for path in (*younger[:1], self.path):
            with suppress(OSError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0
        return None, 0

    def _rotated(self) -> list[Path]:
        """Old files, oldest first, by the names of rotation: NAME.1, NAME-20260101; packed ones are left out."""
        found = [path for path in self.path.parent.glob(f"{self.path.name}[.-]*") if _ROTATED.search(path.name)]
        return sorted(found, key=_changed)

    async def _follow_one(self, descriptor: int, offset: int, since: _Position | None, emit: Emit) -> None:
        """Follow one file until another stands in its place and it is read to its end."""
        status = os.fstat(descriptor)
        here = (status.st_dev, status.st_ino)
        items: list[Item] = []
        if since is not None and (since.device, since.inode) != here:
            why = f"the file that was read to byte {since.offset} is gone: what was added to it later was not seen"
            items.append(Lost(self.name, 0, False, "bytes of log", why))
        text, line, partial = TextAssembly(str(self.path), offset), count(1), b""
        read, told = offset, time.monotonic()
        is_old = False
        while True:
            chunk = os.pread(descriptor, _CHUNK_BYTES, read)
            read += len(chunk)
            partial = _feed(text, partial + chunk, read, line)
            size = os.fstat(descriptor).st_size
            if size < read:
                why = f"the file was truncated at {size} bytes after {read} had been read (copytruncate?)"
                items.extend((*text.skip(0), Lost(self.name, 0, False, "bytes of log", why)))
                read, partial = 0, b""
            now = time.monotonic()
            is_complete = text.completes_in_s(now, self.lull_s) == 0 or (is_old and not chunk)
            items.extend(text.silent() if is_complete else text.ready())
            if items or now - told >= CHECKPOINT_S:
                await emit(Batch(self.name, tuple(items), as_position(_Position(*here, text.settled))))
                items, told = [], now
            if chunk:
                await asyncio.sleep(0)
                continue
            if is_old:
                return
            # Looked at once more after the name has gone to another file: the writer may have added to this one.
            is_old = not self._is_here(here)
            if not is_old:
                await asyncio.sleep(self.poll_s)

    def _is_here(self, here: tuple[int, int]) -> bool:
        try:
            status = self.path.stat()
        except OSError:
            # Between the rename and the new file: nothing to go on with yet.
            return True
        return (status.st_dev, status.st_ino) == here


_ROTATED: Final = re.compile(r"(?:\.\d{1,5}|-\d{8}(?:-\d{1,10})?)$")


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_younger(path: Path, ended: os.stat_result) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_mtime_ns > ended.st_mtime_ns and (status.st_dev, status.st_ino) != (ended.st_dev, ended.st_ino)


def _feed(text: TextAssembly, data: bytes, end: int, number: Iterator[int]) -> bytes:
    """Hand on the whole lines of ``data``, which ends at byte ``end``; returns the beginning of a line."""
    start = end - len(data)
    at = 0
    while (stop := data.find(b"\n", at)) >= 0:
        text.feed(Marked(RawLine(next(number), data[at:stop].removesuffix(b"\r")), start + stop + 1))
        at = stop + 1
    rest = data[at:]
    if len(rest) > MAX_PARTIAL_LINE_BYTES:
        text.feed(Marked(RawLine(next(number), rest), end))
        return b""
    return rest


@dataclass(frozen=True, slots=True)
class SocketSource:
    """What connections to a unix socket send. A sender that is not read is held up by its own socket buffer."""

    path: Path
    name: str = "socket"
    lull_s: float = SOCKET_LULL_S
    clock: str = field(default="whatever the sender puts into its records", init=False)
    resumption: Resumption = field(default=Resumption.NONE, init=False)

    def probe(self) -> Availability:
        """Whether the socket can be made."""
        if not self.path.parent.is_dir():
            return Availability(Presence.ABSENT, f"{self.path.parent} is no directory", "Make it.")
        if not os.access(self.path.parent, os.W_OK):
            return Availability(Presence.FORBIDDEN, f"{self.path.parent} may not be written", "Let the service own it.")
        return Availability(Presence.PRESENT, f"listens on {self.path}")

    async def follow(self, emit: Emit, since: Position | None = None) -> None:  # noqa: ARG002 (a socket keeps nothing)
        """Listen, and hand on what each connection sends, until cancelled. Raises SourceError if it cannot listen."""
        places = asyncio.Semaphore(MAX_CONNECTIONS)

        async def serve(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with places:
                with suppress(ConnectionError, asyncio.IncompleteReadError):
                    await self._serve(stream, emit)
            writer.close()

        if self.path.is_socket():
            # Left by a service that was killed; anything else in its place is not Ringfence's to remove.
            self.path.unlink()
        try:
            server = await asyncio.start_unix_server(serve, self.path, limit=_CHUNK_BYTES)
        except OSError as error:
            raise SourceError(self.path, str(error), advice="Name a socket that the service may make.") from error
        self.path.chmod(0o600)
        async with server:
            await server.serve_forever()

    async def _serve(self, stream: asyncio.StreamReader, emit: Emit) -> None:
        match (await stream.readline()).strip():
            case b"lines":
                await self._lines(stream, emit)
            case b"blobs":
                await self._blobs(stream, emit)
            case other:
                why = "a connection begins with the line 'lines' or 'blobs'"
                await emit(Batch(self.name, (Unrecognised(Origin(str(self.path)), other[:200], why),)))

    async def _lines(self, stream: asyncio.StreamReader, emit: Emit) -> None:
        text, line, partial, read = TextAssembly(str(self.path), 0), count(1), b"", 0
        while True:
            wait_s = text.completes_in_s(time.monotonic(), self.lull_s)
            chunk: bytes | None = None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    chunk = await stream.read(_CHUNK_BYTES)
            if chunk:
                read += len(chunk)
                partial = _feed(text, partial + chunk, read, line)
            elif chunk is not None and partial:
                _feed(text, partial + b"\n", read + 1, line)
            # A connection that ends, or has been silent, has given all of its records.
            is_complete = not chunk or text.completes_in_s(time.monotonic(), self.lull_s) == 0
            if items := (text.silent() if is_complete else text.ready()):
                await emit(Batch(self.name, tuple(items)))
            if chunk == b"":
                return

    async def _blobs(self, stream: asyncio.StreamReader, emit: Emit) -> None:
        while True:
            (size,) = struct.unpack("<I", await stream.readexactly(4))
            if size > MAX_BLOB_BYTES:
                why = f"a blob of {size} bytes is announced; {MAX_BLOB_BYTES} are the most"
                await emit(Batch(self.name, (Unrecognised(Origin(str(self.path)), b"", why),)))
                return
            items = list(_of_blob(await stream.readexactly(size), str(self.path)))
            await emit(Batch(self.name, tuple(items)))


def _of_blob(blob: bytes, file: str) -> Iterator[Evidence]:
    form = binary.detect(blob[: binary.HEAD_BYTES], file, len(blob))
    if form is None:
        yield Unrecognised(Origin(file), blob, "no known binary form of evidence")
        return
    for item in binary.read(form, blob, file):
        if isinstance(item, PstoreText):
            lines = (RawLine(number, raw) for number, raw in enumerate(item.text.splitlines(), start=1))
            yield from text_reader.read(lines, file)
        else:
            yield item
