"""From a path or a stream to evidence: decompression, directories, standard input, detection by content."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import select
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ringfence.errors import SourceError
from ringfence.record.binary.pstore import logs_of, parse_name

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES: Final = 1 << 20
"""Text is read in blocks of this size: large enough to amortise calls, small enough to stay in a core's cache."""
MAX_PARTIAL_LINE_BYTES: Final = 1 << 20
"""A line longer than this is no log line: it is cut here, so that a hostile file cannot fill the memory."""
STDIN: Final = "-"


def _is_damage(error: Exception) -> bool:
    """Whether a decompressor says by this error that its input is damaged or cut."""
    return (
        isinstance(error, (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError))
        or type(error).__name__ == "ZstdError"
    )


class _Unpacker(io.RawIOBase):
    """A decompressor read step by step: what stands before a damage is handed out, then the damage is raised.

    Closing it closes what the decompressor reads from, which decompressors leave open.
    """

    def __init__(self, unpacker: io.BufferedIOBase, packed: io.BufferedReader) -> None:
        self._unpacker = unpacker
        self._packed = packed
        self._damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self._damage is not None:
            raise self._damage
        room = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(room):
            try:
                data = self._unpacker.read1(len(room) - filled)
            except Exception as error:
                if not filled or not _is_damage(error):
                    raise
                self._damage = error
                break
            if not data:
                break
            room[filled : filled + len(data)] = data
            filled += len(data)
        return filled

    def close(self) -> None:
        try:
            super().close()
            self._unpacker.close()
        finally:
            self._packed.close()


def _zstd(stream: io.BufferedReader) -> io.BufferedIOBase:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 (loaded only for .zst)
    else:
        from backports import zstd  # noqa: PLC0415 (loaded only for .zst)
    return zstd.ZstdFile(stream)


def _unmarked(stream: io.BufferedReader) -> io.BufferedReader:
    """UTF-8 behind a byte order mark, without it."""
    stream.read(len(codecs.BOM_UTF8))
    return stream


class _Utf16(io.BufferedIOBase):
    """UTF-16 as UTF-8; what cannot be decoded becomes U+FFFD."""

    def __init__(self, packed: io.BufferedReader) -> None:
        self._packed = packed
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._ready = b""

    def read1(self, size: int = -1, /) -> bytes:
        while not self._ready:
            data = self._packed.read1(BLOCK_BYTES)
            self._ready = self._decoder.decode(data, not data).encode("utf-8", "replace")
            if not data:
                break
        end = size if size >= 0 else len(self._ready)
        given, self._ready = self._ready[:end], self._ready[end:]
        return given


_WRAPPINGS: tuple[tuple[re.Pattern[bytes], str, Callable[[io.BufferedReader], io.BufferedIOBase]], ...] = (
    (re.compile(rb"\x1f\x8b"), "gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    (re.compile(rb"\xfd7zXZ\x00"), "xz", lzma.LZMAFile),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "zstd", _zstd),
    (re.compile(rb"BZh"), "bzip2", bz2.BZ2File),
    (re.compile(rb"\xef\xbb\xbf"), "UTF-8 with a mark", _unmarked),
    (re.compile(rb"\xff\xfe[^\x00]\x00|\xfe\xff\x00[^\x00]"), "UTF-16", _Utf16),
)
"""By what the content begins with. Windows puts a byte order mark before text: it is taken off like a compression.
UTF-16 is that mark and an ASCII character, which no other form begins with."""
HEAD_BYTES: Final = 64
"""More than the longest of these, and than the headers of a part of a kernel log that pstore kept."""


def is_wrapped(head: bytes) -> bool:
    """Whether a file that begins so is compressed, or in another encoding, in a form that ``opened`` unpacks."""
    return any(magic.match(head) for magic, _, _ in _WRAPPINGS)


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to read: ``name`` as the user knows it (``-`` for standard input), ``size_bytes`` if it is known.

    ``parts``: it is one kernel log that pstore cut into these files, the oldest lines first; ``path`` is the first.
    """

    name: str
    path: Path | None
    size_bytes: int | None
    parts: tuple[Path, ...] = ()


def expand(names: tuple[str, ...]) -> Iterator[Source]:
    """The sources that the names stand for: files as they are, directories file by file in the order of their names.

    The parts of a kernel log that pstore keeps in one directory are one source. Raises SourceError for a name that is
    nothing readable.
    """
    held: list[Source] = []
    for source in _each(names):
        is_part = source.path is not None and (found := parse_name(source.path.name)) and found.type == "dmesg"
        if held and not (is_part and source.path is not None and source.path.parent == _parent(held)):
            yield from _logs(held)
            held = []
        if is_part:
            held.append(source)
        else:
            yield source
    yield from _logs(held)


def _parent(held: list[Source]) -> Path | None:
    return held[0].path.parent if held[0].path is not None else None


def _logs(held: list[Source]) -> Iterator[Source]:
    """The parts of one directory, put together into the logs that they were cut from."""
    sources = {source.path: source for source in held if source.path is not None}
    for parts in logs_of(tuple((path, _head(path)) for path in sources)):
        first = sources[parts[0]]
        if len(parts) == 1:
            yield first
        else:
            sizes = [sources[part].size_bytes or 0 for part in parts]
            last = parts[-1].name
            yield Source(f"{first.name} to {last} ({len(parts)} parts)", parts[0], sum(sizes), parts)


def _head(path: Path) -> bytes:
    """The beginning of a part; empty if it cannot be read, which is said when it is read whole."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _each(names: tuple[str, ...]) -> Iterator[Source]:
    for name in names:
        if name == STDIN:
            yield Source(STDIN, None, None)
            continue
        path = Path(name)
        try:
            if path.is_dir():
                for folder, folders, files in os.walk(path):
                    folders.sort()
                    for entry in sorted(files):
                        file = Path(folder, entry)
                        if file.is_file():
                            yield Source(str(file), file, file.stat().st_size)
            else:
                yield Source(name, path, path.stat().st_size)
        except OSError as error:
            raise SourceError(name, error.strerror or str(error), advice="Check the name and your rights.") from error


OWN_PLACES: Final = (
    "/sys/fs/pstore",
    "/sys/firmware/acpi/tables/data/BERT",
    "/var/lib/rasdaemon/ras-mc_event.db",
    "/var/lib/systemd/pstore",
)
"""Where Linux, rasdaemon and systemd-pstore keep what this machine itself reported. Logs are not among them: /var/log
also holds what other machines sent, and a guest's console."""


def is_of_this_machine(source: Source) -> bool:
    """Whether a source is evidence of the machine that the program runs on, by the place where it really lies."""
    if source.path is None:
        return False
    try:
        real = source.path.resolve(strict=True)
        return any(real.is_relative_to(Path(place).resolve()) for place in OWN_PLACES)
    except (OSError, RuntimeError):
        return False


def opened(source: Source) -> io.BufferedReader:
    """The source's bytes, decompressed if they are compressed (told by content, twice-packed files too).

    Raises SourceError if it cannot be opened.
    """
    try:
        raw: io.RawIOBase = (
            open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 (the caller closes it)
            if source.path is None
            else source.path.open("rb", buffering=0)
        )
        buffered: io.BufferedReader = io.BufferedReader(raw, BLOCK_BYTES)
        for _ in range(3):
            head = buffered.peek(HEAD_BYTES)[:HEAD_BYTES]
            unpack = next((unpack for magic, _, unpack in _WRAPPINGS if magic.match(head)), None)
            if unpack is None:
                break
            buffered = io.BufferedReader(_Unpacker(unpack(buffered), buffered), BLOCK_BYTES)
    except Exception as error:
        if not _is_damage(error):
            raise
        raise SourceError(source.name, str(error), advice="Check the name and your rights.") from error
    return buffered


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole lines: ``first_line`` is the 1-based number of its first, ``offset`` its place in the text."""

    data: bytes
    first_line: int
    offset: int


class Damaged(Exception):  # noqa: N818 (it is a fact about the file, raised to end the reading of it)
    """The rest of a compressed source cannot be unpacked; what came before it was handed out."""


def _chunk(stream: io.BufferedReader, size: int) -> bytes:
    try:
        return stream.read1(size) or b""
    except Exception as error:
        if not _is_damage(error):
            raise
        raise Damaged(str(error)) from error


def chunks(stream: io.BufferedReader) -> Iterator[bytes]:
    """The bytes of a stream as they come. Raises Damaged when the rest of a compressed one cannot be unpacked."""
    while chunk := _chunk(stream, BLOCK_BYTES):
        yield chunk


LULL_S: Final = 0.5
"""A pipe that brings nothing for so long is taken to be silent: what was read is complete and can be shown.

The kernel prints the lines of a record within milliseconds.
"""


def _is_silent(stream: io.BufferedReader) -> bool:
    """Whether a pipe brings nothing for ``LULL_S``; never for what has no file descriptor, such as a decompressor."""
    try:
        return not select.select([stream.fileno()], [], [], LULL_S)[0]
    except (OSError, ValueError):
        return False


def blocks(
    stream: io.BufferedReader,
    size: int = BLOCK_BYTES,
    progress: Callable[[int], None] | None = None,
    *,
    follow: bool = False,
) -> Iterator[Block]:
    """Cut a stream into blocks of whole lines. ``progress`` is told how many bytes each block has.

    A chunk is handed out as soon as it holds a whole line, so a pipe that trickles is followed. With ``follow``, an
    empty block is handed out whenever the stream falls silent.
    Raises Damaged when the rest of a compressed stream cannot be unpacked, after what could be was handed out.
    """
    held = b""
    line, offset = 1, 0
    damage: Damaged | None = None
    quiet = True
    while True:
        if follow and not quiet and _is_silent(stream):
            quiet = True
            yield Block(b"", line, offset)
        try:
            chunk = _chunk(stream, size)
            quiet = False
        except Damaged as error:
            chunk, damage = b"", error
        if not chunk:
            break
        data = held + chunk
        cut = data.rfind(b"\n") + 1
        if cut == 0 and len(data) > MAX_PARTIAL_LINE_BYTES:
            cut = len(data)
        if cut:
            yield Block(data[:cut], line, offset)
            if progress is not None:
                progress(cut)
            line += data.count(b"\n", 0, cut)
            offset += cut
        held = data[cut:]
    if held:
        yield Block(held, line, offset)
        if progress is not None:
            progress(len(held))
    if damage is not None:
        raise damage
