"""How far an outlet has told the journal: a small file of its own, replaced whole, that a kill cannot tear.

What was told and not yet written here is told again after a kill, under the same id: at least once, and no gap. An id
is of the journal's, not of the host's alone: where another journal stands in the place of the one that was told (it was
taken away, or salvaged up to a damage), numbers mean other events, and get other ids.
"""

from __future__ import annotations

import os
import threading
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

import msgspec

from ringfence.errors import SourceError
from ringfence.journal.store import Reader

T = TypeVar("T")

DIRECTORY: Final = "outlets"
"""In the state directory."""

_IDENTITY: Final = "identity.json"
_MOST_BYTES: Final = 4096
"""Of one of these files: they have about a hundred."""

_LOCK: Final = threading.Lock()
"""Outlets open their cursors in threads, and share the identity."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who tells: random numbers that name this host's Ringfence, and the journal that its events' numbers are of."""

    host: str
    journal: str


@dataclass(frozen=True, slots=True)
class Place:
    """All events up to ``number`` have been told. ``mark`` is the CRC of that event's text; None where it has none."""

    journal: str
    number: int
    mark: int | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of one outlet, and who it speaks for."""

    path: Path
    identity: Identity
    place: Place

    def at(self, number: int) -> Cursor:
        """The cursor after this event was told; not yet kept."""
        return replace(self, place=replace(self.place, number=number, mark=None))

    def keep(self, journal: Path) -> Cursor:
        """Make the place durable. Raises OSError or JournalError where that cannot be."""
        kept = replace(self, place=replace(self.place, mark=_mark(journal, self.place.number)))
        _write(self.path, kept.place)
        return kept


def opened(state_dir: Path, name: str, journal: Path, *, begin: int) -> Cursor:
    """The cursor of an outlet. A new one, or one that another journal was told by, begins after event ``begin``.

    Raises SourceError where its directory or its files cannot be used, JournalError where the journal cannot be read.
    """
    directory = state_dir / DIRECTORY
    path = directory / f"{name}.json"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        with _LOCK:
            identity = _identity(directory)
            place = _read(path, Place)
            if place is not None and place.journal == identity.journal and not _is_of(journal, place):
                identity = replace(identity, journal=str(uuid4()))
                _write(directory / _IDENTITY, identity)
            if place is None or place.journal != identity.journal:
                place = Place(identity.journal, begin)
                _write(path, place)
    except OSError as error:
        advice = "See that the state directory is the service's own, and that its disk has room."
        raise SourceError(directory, error.strerror or str(error), advice=advice) from error
    return Cursor(path, identity, place)


def identity_of(state_dir: Path) -> Identity:
    """Who tells. Raises OSError where that cannot be read or kept."""
    directory = state_dir / DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    with _LOCK:
        return _identity(directory)


def _identity(directory: Path) -> Identity:
    known = _read(directory / _IDENTITY, Identity)
    if known is None:
        known = Identity(str(uuid4()), str(uuid4()))
        _write(directory / _IDENTITY, known)
    return known


def _is_of(journal: Path, place: Place) -> bool:
    """Whether the journal has the event that the place names. One that is no longer kept cannot be told apart."""
    with Reader(journal) as reader:
        if place.number <= reader.base.number or place.number == 0:
            return True
        found = next(reader.texts(place.number - 1), None)
    if found is None or found[0] != place.number:
        return False
    return place.mark is None or place.mark == zlib.crc32(found[1].encode())


def _mark(journal: Path, number: int) -> int | None:
    with Reader(journal) as reader:
        found = next(reader.texts(number - 1), None) if number > 0 else None
    return zlib.crc32(found[1].encode()) if found is not None and found[0] == number else None


# --- files ------------------------------------------------------------------------------------------------------------


def _read(path: Path, kind: type[T]) -> T | None:
    """A file's value; None if there is no file, or it is damaged: then the outlet begins with this life's events."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MOST_BYTES), type=kind)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write(path: Path, value: object) -> None:
    """Replace a file whole, durably (rename(2) is atomic; the directory is synced for the new name)."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, msgspec.json.encode(value))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
