"""A unix socket that others write evidence to: for machines without the rest, for relays, and for tests.

Each connection says by its first line what it sends:

- ``lines``: a log;
- ``blobs``: each a 32-bit little-endian length and so many bytes of any binary form of evidence;
- ``structs LENGTH``: one ``struct mce`` of so many bytes after the other, as /dev/mcelog gives them. A storm is told as
  one (``aggregation``); the other two are taken record by record.

What may be uncorrected is handed on ahead of the rest that was read with it. A sender that is not read is held up by
its own socket buffer: nothing is dropped.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.record import binary
from ringfence.record.binary.pstore import PstoreText
from ringfence.record.binary.struct_mce import LENGTHS
from ringfence.record.evidence import Evidence, Origin, Record, Unrecognised
from ringfence.record.text import reader as text_reader
from ringfence.record.text.lines import RawLine
from ringfence.service.sources.aggregation import Aggregation
from ringfence.service.sources.source import (
    Availability,
    Batch,
    Emit,
    Item,
    Position,
    Presence,
    Resumption,
    may_be_uncorrected,
)
from ringfence.service.sources.text_assembly import TextAssembly, feed_lines

CHUNK_BYTES: Final = 1 << 16
"""So much is read at a time: more would keep the event loop from whoever else waits for it."""

SOCKET_LULL_S: Final = 0.02
"""A program sends the lines of a record in one write; a kernel's serial console may take longer between two."""

MAX_BLOB_BYTES: Final = 16 << 20
"""The longest blob that a connection may send: ERST records and BERT regions have some KiB."""

MAX_CONNECTIONS: Final = 16

PRESSING_AT_ONCE: Final = 64
"""Uncorrected errors in one batch: the first of a flood of them does not wait for the last."""


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
        storm = _Storm(self.name, str(self.path), emit)
        connections: set[asyncio.Task[None] | None] = set()

        async def serve(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(task := asyncio.current_task())
            try:
                async with places:
                    with suppress(ConnectionError, asyncio.IncompleteReadError):
                        await self._serve(stream, emit, storm)
            finally:
                writer.close()
                connections.discard(task)

        if self.path.is_socket():
            # Left by a service that was killed; anything else in its place is not Ringfence's to remove.
            self.path.unlink()
        try:
            server = await asyncio.start_unix_server(serve, self.path, limit=CHUNK_BYTES)
        except OSError as error:
            raise SourceError(self.path, str(error), advice="Name a socket that the service may make.") from error
        self.path.chmod(0o600)
        try:
            await storm.hand_over()
        finally:
            # Whoever is connected is not waited for: from Python 3.12 on, to wait for the server's end would be that.
            server.close()
            for each in [task for task in connections if task is not None]:
                each.cancel()

    async def _serve(self, stream: asyncio.StreamReader, emit: Emit, storm: _Storm) -> None:
        match (await stream.readline()).split():
            case [b"lines"]:
                await self._lines(stream, emit)
            case [b"blobs"]:
                await self._blobs(stream, emit)
            case [b"structs", length] if length in _LENGTHS:
                await storm.read(stream, _LENGTHS[length])
            case words:
                other = b" ".join(words)
                why = "a connection begins with the line 'lines', 'blobs' or 'structs LENGTH', of a struct mce"
                await emit(Batch(self.name, (Unrecognised(Origin(str(self.path)), other[:200], why),)))

    async def _lines(self, stream: asyncio.StreamReader, emit: Emit) -> None:
        text, line, partial, read = TextAssembly(str(self.path), 0), count(1), b"", 0
        while True:
            # It is the sender that is silent, not this source that was busy: what has come meanwhile is read first.
            wait_s = self.lull_s if text.is_open else None
            chunk: bytes | None = None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    chunk = await stream.read(CHUNK_BYTES)
            if chunk:
                read += len(chunk)
                partial = feed_lines(text, partial + chunk, read, line)
            elif chunk is not None and partial:
                feed_lines(text, partial + b"\n", read + 1, line)
            # A connection that ends, or has been silent, has given all of its records.
            is_complete = not chunk or text.completes_in_s(time.monotonic(), self.lull_s) == 0
            if items := (text.silent() if is_complete else text.ready()):
                await _emit(emit, self.name, items)
            if chunk == b"":
                return

    async def _blobs(self, stream: asyncio.StreamReader, emit: Emit) -> None:
        while True:
            (size,) = struct.unpack("<I", await stream.readexactly(4))
            if size > MAX_BLOB_BYTES:
                why = f"a blob of {size} bytes is announced; {MAX_BLOB_BYTES} are the most"
                await emit(Batch(self.name, (Unrecognised(Origin(str(self.path)), b"", why),)))
                return
            await _emit(emit, self.name, list(_of_blob(await stream.readexactly(size), str(self.path))))


class _Storm:
    """What all connections send of ``struct mce``: held, and handed over as soon as there is room for it."""

    def __init__(self, name: str, file: str, emit: Emit) -> None:
        self._name, self._file, self._emit = name, file, emit
        self._aggregation = Aggregation(file)
        self._held, self._room = asyncio.Event(), asyncio.Event()

    async def read(self, stream: asyncio.StreamReader, length: int) -> None:
        """Take what one connection sends until it ends."""
        data = b""
        while chunk := await stream.read(CHUNK_BYTES):
            data += chunk
            whole = len(data) - len(data) % length
            pressing = self._aggregation.take(data[:whole], length)
            data = data[whole:]
            for start in range(0, len(pressing), PRESSING_AT_ONCE):
                await self._emit(Batch(self._name, pressing[start : start + PRESSING_AT_ONCE]))
            if self._aggregation.held:
                self._held.set()
            while self._aggregation.is_full:
                self._room.clear()
                await self._room.wait()
        if data:
            why = f"the connection ended within a struct mce of {length} bytes"
            await self._emit(Batch(self._name, (Unrecognised(Origin(self._file), data, why),)))

    async def hand_over(self) -> None:
        """Hand over what is held, for ever: at once if nobody is busy with what went before."""
        while True:
            self._held.clear()
            while items := self._aggregation.release():
                self._room.set()
                await self._emit(Batch(self._name, items))
            await self._held.wait()


_LENGTHS: Final = {b"%d" % length: length for length in LENGTHS}


async def _emit(emit: Emit, name: str, items: Sequence[Item]) -> None:
    """Hand items over, ahead of the others those that may be uncorrected errors."""
    pressing: list[Item] = []
    others: list[Item] = []
    for item in items:
        is_pressing = isinstance(item, Record) and may_be_uncorrected(item)
        (pressing if is_pressing else others).append(item)
    for batch in (pressing, others):
        if batch:
            await emit(Batch(name, tuple(batch)))


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
