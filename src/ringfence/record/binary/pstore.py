"""What Linux's pstore keeps over a crash: the kernel log in parts, and ``struct mce`` (files ``mce-erst-*``).

/sys/fs/pstore has a file for every record, named TYPE-BACKEND-ID (Linux fs/pstore/inode.c). The log is cut into parts,
the newest lines in part 1 (fs/pstore/platform.c, pstore_dump), between whole lines: what a panic's last lines say of a
machine check may begin in one part and end in the next. ``logs_of`` puts the files of one log together.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ringfence.errors import FormatError
from ringfence.record.evidence import Origin

MAX_TEXT_BYTES: Final = 4 << 20
"""The most that one compressed part may grow to. The kernel compresses at most its log buffer, far below this, and a
part no bigger than the backend's record (a few KiB to 64 KiB): more is an attack, not a log."""

_NAME: Final = re.compile(
    r"(?P<type>dmesg|mce|console|ftrace|rtas|powerpc-ofw|powerpc-common|pmsg|powerpc-opal)-"
    r"(?P<backend>[A-Za-z0-9_]+(?:-[A-Za-z_]+)?)-(?P<id>\d{1,20})(?P<packed>\.enc\.z)?"
)
_PART: Final = re.compile(rb"(?P<reason>[A-Z][A-Za-z ]{1,30})#(?P<count>\d{1,10}) Part(?P<part>\d{1,10})\r?\n")
_RAMOOPS: Final = re.compile(rb"====(?P<seconds>\d{1,12})\.(?P<micros>\d{1,9})(?:-(?P<form>[CD]))?\r?\n")

_EARLIEST_TIME_S, _LATEST_TIME_S = 946_684_800, 4_102_444_800


@dataclass(frozen=True, slots=True)
class PstoreName:
    """A file name of /sys/fs/pstore: what the record is, which backend kept it, and the backend's number for it.

    ``is_compressed``: the kernel could not decompress it (``.enc.z``). ``time`` is known for EFI's variables only,
    whose number is made of it (drivers/firmware/efi/efi-pstore.c, generic_id).
    """

    type: str
    backend: str
    id: int
    is_compressed: bool

    @property
    def time(self) -> float | None:
        """Seconds since 1970 when the record was written, or None."""
        seconds = self.id // 1000 // 100
        is_time = self.backend.startswith("efi") and _EARLIEST_TIME_S <= seconds < _LATEST_TIME_S
        return float(seconds) if is_time else None


def parse_name(name: str) -> PstoreName | None:
    """The parts of a pstore file name (without its directory), or None if it is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return PstoreName(match["type"], match["backend"], int(match["id"]), bool(match["packed"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PstoreText:
    """A part of a kernel log that survived a crash.

    ``text`` is without the headers that pstore put before it: ``reason`` ("Panic", "Oops"), ``count`` (the how-manieth
    dump since boot) and ``part`` (1 is the newest) are taken from them. ``time`` is in seconds since 1970.
    """

    origin: Origin
    text: bytes
    reason: str | None = None
    count: int | None = None
    part: int | None = None
    time: float | None = None


def read_text(blob: bytes, origin: Origin, time: float | None = None) -> PstoreText:
    """A part as it stands in /sys/fs/pstore, in ramoops memory, or in a CPER section; any text makes one.

    ``time`` is what the container says of when it was written; a ramoops header overrides it.
    Raises FormatError if the ramoops header says that the text is compressed: with what, it does not say.
    """
    start = 0
    if header := _RAMOOPS.match(blob):
        if header["form"] == b"C":
            raise FormatError("ramoops record is compressed", offset=header.end())
        time = int(header["seconds"]) + int(header["micros"]) / 1e6
        start = header.end()
    text = PstoreText(origin=origin, text=blob[start:], time=time)
    if header := _PART.match(blob, start):
        return replace(
            text,
            text=blob[header.end() :],
            reason=header["reason"].decode("ascii"),
            count=int(header["count"]),
            part=int(header["part"]),
        )
    return text


def logs_of(files: tuple[tuple[Path, bytes], ...]) -> tuple[tuple[Path, ...], ...]:
    """The files of whole logs, each from its oldest part to its newest, of ``dmesg`` files and their beginnings.

    A backend numbers the parts of a dump upwards in the order in which it writes them, from part 1 on (erst_writer and
    generic_id, as above): a log ends where reason or count change, or a part's number does not grow. What has no header
    stands alone.
    """
    logs: list[list[Path]] = []
    before: tuple[str, bytes, bytes] | None = None
    part_before = 0
    for name, path, head in sorted(
        ((found, path, head) for path, head in files if (found := parse_name(path.name)) is not None),
        key=lambda each: (each[0].backend, each[0].id),
    ):
        ramoops = _RAMOOPS.match(head)
        header = _PART.match(head, ramoops.end() if ramoops else 0)
        dump = (name.backend, header["reason"], header["count"]) if header else None
        part = int(header["part"]) if header else 0
        if dump is not None and dump == before and part == part_before + 1:
            logs[-1].insert(0, path)
        else:
            logs.append([path])
        before, part_before = dump, part
    return tuple(tuple(log) for log in logs)


def inflate(packed: bytes) -> bytes:
    """A compressed part. Linux used zlib's format up to 4.16 and raw deflate after that; others cannot be told.

    Raises FormatError if it is neither, is damaged, does not begin with a part's header line, or grows beyond
    ``MAX_TEXT_BYTES``.
    """
    for window_bits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        stream = zlib.decompressobj(window_bits)
        try:
            text = stream.decompress(packed, MAX_TEXT_BYTES)
        except zlib.error:
            continue
        # Raw deflate has no checksum: the header line is what shows that it was one.
        if stream.eof and _PART.match(text):
            return text
    raise FormatError("compressed part of a kernel log: not deflate, damaged, or too large")
