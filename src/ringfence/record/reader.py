"""A source to evidence: binary forms by their detectors, everything else as text."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Final

from ringfence.errors import FormatError, SourceError
from ringfence.record import binary
from ringfence.record.binary import pstore
from ringfence.record.evidence import Evidence, Format, Lull, Origin, Unrecognised
from ringfence.record.sources import STDIN, Block, Damaged, Source, blocks, chunks, is_wrapped, opened
from ringfence.record.text.lines import LULL, RawLine

MAX_BINARY_BYTES: Final = 256 << 20
"""A binary dump is read whole; more than this is no dump of machine checks (ERST holds some megabytes)."""


def _follow_text(lines: Iterable[RawLine], name: str) -> Iterator[Evidence | Lull]:
    from ringfence.record.text import reader  # noqa: PLC0415 (the grammars are loaded when there is text to read)

    return reader.follow(lines, name)


def _read_text(log: bytes, name: str) -> Iterator[Evidence]:
    from ringfence.record.text import reader  # noqa: PLC0415 (as above)

    return reader.read(raw_lines(Block(log, 1, 0)), name)


def raw_lines(block: Block) -> Iterator[RawLine]:
    """The lines of a block, numbered, without their line ends."""
    data = block.data
    number, at = block.first_line, 0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            end = len(data)
        yield RawLine(number, data[at:end].removesuffix(b"\r"))
        number += 1
        at = end + 1


def _text(stream: io.BufferedReader, name: str, progress: Callable[[int], None] | None) -> Iterator[Evidence | Lull]:
    damage: list[Unrecognised] = []

    def lines() -> Iterator[RawLine]:
        offset = 0
        try:
            for block in blocks(stream, progress=progress, follow=name == STDIN):
                yield from raw_lines(block) if block.data else (RawLine(block.first_line, LULL),)
                offset = block.offset + len(block.data)
        except Damaged as error:
            damage.append(Unrecognised(Origin(name, offset=offset), b"", f"the rest cannot be unpacked: {error}"))

    yield from _follow_text(lines(), name)
    yield from damage


def _whole(stream: io.BufferedReader, name: str) -> tuple[bytes, list[Unrecognised]]:
    """All bytes of a binary source, and what is wrong with its end. Raises SourceError if there are too many."""
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in chunks(stream):
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_BINARY_BYTES:
                raise SourceError(
                    name,
                    f"binary, and larger than {MAX_BINARY_BYTES >> 20} MiB: no dump of machine checks is",
                    advice="Give the log or the dump itself, not a disk or memory image that contains it.",
                )
    except Damaged as error:
        return b"".join(parts), [Unrecognised(Origin(name, offset=size), b"", f"the rest cannot be unpacked: {error}")]
    return b"".join(parts), []


def _binary(
    stream: io.BufferedReader, source: Source, progress: Callable[[int], None] | None
) -> Iterator[Evidence | Lull]:
    """A source with NULs at its start: a dump if its whole size makes it one, else a log that a crash left NULs in."""
    blob, damage = _whole(stream, source.name)
    if progress is not None:
        progress(len(blob))
    form = binary.detect(blob[: binary.HEAD_BYTES], source.name, len(blob))
    found: Iterable[Evidence | Lull | pstore.PstoreText]
    if form is None:
        found = _read_text(blob, source.name)
    elif form is Format.RASDAEMON_DB and source.path is not None and len(blob) == source.size_bytes:
        # Read in place, so that what a live database holds in its write-ahead log is seen as well.
        from ringfence.record.binary import rasdaemon_db  # noqa: PLC0415 (SQLite is loaded for a database only)

        found = rasdaemon_db.read(source.path)
    else:
        found = binary.read(form, blob, source.name)
    for item in found:
        if isinstance(item, pstore.PstoreText):
            yield from _read_text(item.text, source.name)
        else:
            yield item
    yield from damage


def _pstore_log(stream: io.BufferedReader, name: str) -> Iterator[Evidence | Lull]:
    """A kernel log that pstore saved: its first line is pstore's own."""
    blob, damage = _whole(stream, name)
    try:
        log = pstore.read_text(blob, Origin(name)).text
    except FormatError as error:
        yield Unrecognised(Origin(name), blob[:4096], str(error))
    else:
        yield from _read_text(log, name)
    yield from damage


def _pstore_parts(source: Source, progress: Callable[[int], None] | None) -> Iterator[Evidence | Lull]:
    """One kernel log of several files: its lines are counted from the first of its oldest part on."""
    log = bytearray()
    for part in source.parts:
        with opened(Source(str(part), part, None)) as stream:
            blob, damage = _whole(stream, str(part))
        yield from damage
        if progress is not None:
            progress(len(blob))
        try:
            log += pstore.read_text(blob, Origin(str(part))).text
        except FormatError as error:
            yield Unrecognised(Origin(str(part)), blob[:4096], str(error))
        if log and not log.endswith(b"\n"):
            log += b"\n"
        if len(log) > MAX_BINARY_BYTES:
            raise SourceError(
                source.name, f"the log has more than {MAX_BINARY_BYTES >> 20} MiB", advice="Give its files one by one."
            )
    yield from _read_text(bytes(log), source.name)


def read(source: Source, progress: Callable[[int], None] | None = None) -> Iterator[Evidence]:
    """Every piece of evidence in a source, as ``follow`` reads it, without the lulls."""
    return (item for item in follow(source, progress) if not isinstance(item, Lull))


def follow(source: Source, progress: Callable[[int], None] | None = None) -> Iterator[Evidence | Lull]:
    """Every piece of evidence in a source, in its order; memory is bounded. A pipe that falls silent gives a Lull.

    A compressed source that is damaged yields what could be unpacked, then one ``Unrecognised`` for the rest.
    Raises SourceError if the source cannot be opened, or is binary and unreasonably large.
    """
    if source.parts:
        yield from _pstore_parts(source, progress)
        return
    with opened(source) as stream:
        stored = pstore.parse_name(PurePath(source.name).name)
        if stored is not None and stored.type == "dmesg":
            yield from _pstore_log(stream, source.name)
        elif _may_be_binary(stream, source):
            yield from _binary(stream, source, progress)
        else:
            yield from _text(stream, source.name, progress)


def is_plain_log(source: Source) -> bool:
    """Whether a source is a regular file of text, neither compressed nor binary nor pstore's. Raises SourceError."""
    if source.path is None or source.parts or not source.path.is_file():
        return False
    stored = pstore.parse_name(PurePath(source.name).name)
    if stored is not None:
        return False
    try:
        with source.path.open("rb", buffering=0) as file:
            head = file.read(binary.HEAD_BYTES)
    except OSError as error:
        raise SourceError(
            source.name, error.strerror or str(error), advice="Check the name and your rights."
        ) from error
    return binary.is_text(head) and not is_wrapped(head)


def _may_be_binary(stream: io.BufferedReader, source: Source) -> bool:
    """Whether a stream begins like a binary form: with a NUL or a signature; in a large file, one must be detected.

    A log can have runs of NULs too (a crash, a copy-truncate): it is read as text all the same.
    """
    try:
        head = stream.peek(binary.HEAD_BYTES)[: binary.HEAD_BYTES]
    except (OSError, EOFError, ValueError):
        return False
    if binary.is_text(head):
        return False
    if source.size_bytes is None or source.size_bytes <= MAX_BINARY_BYTES:
        return True
    return binary.detect(head, source.name, source.size_bytes) is not None
