"""Readers and writers of evidence in binary form.

``detect`` says which form a file is in, ``read`` reads it. An SQLite file that has a path is better read from there
(``rasdaemon_db.read``): the database may be live, and have a journal beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Final

from ringfence.record.binary import cper, ghes, pstore, rasdaemon_db, struct_mce, xen_mc_info
from ringfence.record.binary.pstore import PstoreText
from ringfence.record.evidence import Evidence, Format

HEAD_BYTES: Final = 4096
"""How much of a file's beginning ``detect`` wants to see: some records of the longest kind."""

READERS: Final[dict[Format, Callable[[bytes, str], Iterator[Evidence | PstoreText]]]] = {
    Format.CPER: cper.read,
    Format.GHES_BLOCK: ghes.read,
    Format.XEN_MC_INFO: xen_mc_info.read,
    Format.STRUCT_MCE: struct_mce.read,
    Format.RASDAEMON_DB: rasdaemon_db.read_image,
}
"""For each form, the reader of a whole blob: it never raises for what the bytes say."""


def detect(head: bytes, name: str, size: int) -> Format | None:
    """The binary form of a file called ``name``, of ``size`` bytes, that begins with ``head``; None if it is none.

    Forms with a signature come first, then those that are known by their consistency alone.
    """
    if rasdaemon_db.detect(head):
        return Format.RASDAEMON_DB
    if cper.detect(head):
        return Format.CPER
    if xen_mc_info.detect(head, size):
        return Format.XEN_MC_INFO
    stored = pstore.parse_name(PurePath(name).name)
    if (stored is not None and stored.type == "mce") or struct_mce.detect(head, size):
        return Format.STRUCT_MCE
    if ghes.detect(head, name):
        return Format.GHES_BLOCK
    # What begins as a dump and does not go on as one is a damaged dump: its reader says what it cannot read.
    if cper.begins_with_one(head):
        return Format.CPER
    return Format.STRUCT_MCE if struct_mce.begins_with_one(head) else None


def is_text(head: bytes) -> bool:
    """Whether a file that begins with ``head`` can only be text: a binary form has a NUL there, or a signature."""
    return b"\0" not in head and not cper.begins_with_one(head)


def read(format: Format, blob: bytes, file: str) -> Iterator[Evidence | PstoreText]:  # noqa: A002 (the word of the enum)
    """The evidence in a file of a known binary form. Kernel logs found in it are handed on as ``PstoreText``.

    Raises KeyError if ``format`` is not a binary one.
    """
    return READERS[format](blob, file)
