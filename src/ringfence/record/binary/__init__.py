"""Readers and writers of evidence in binary form.

``detect`` says which form a file is in, ``read`` reads it; the modules are loaded when one of them is called, as most
evidence is text. An SQLite file that has a path is better read from there
(``rasdaemon_db.read``): the database may be live, and have a journal beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from ringfence.record.evidence import Evidence, Format

if TYPE_CHECKING:
    from ringfence.record.binary.pstore import PstoreText

HEAD_BYTES: Final = 4096
"""How much of a file's beginning ``detect`` wants to see: some records of the longest kind."""

CPER_SIGNATURE: Final = b"CPER"
"""What a CPER record begins with (UEFI 2.10 N.2.1)."""

Reader = Callable[[bytes, str], "Iterator[Evidence | PstoreText]"]


def _loaded(module: str, function: str = "read") -> Reader:
    """A reader whose module is loaded at its first call."""

    def read(blob: bytes, file: str) -> Iterator[Evidence | PstoreText]:
        reader: Reader = getattr(import_module(f"{__name__}.{module}"), function)
        return reader(blob, file)

    read.__module__ = f"{__name__}.{module}"  # where the documentation finds what the form is
    return read


READERS: Final[dict[Format, Reader]] = {
    Format.CPER: _loaded("cper"),
    Format.GHES_BLOCK: _loaded("ghes"),
    Format.XEN_MC_INFO: _loaded("xen_mc_info"),
    Format.STRUCT_MCE: _loaded("struct_mce"),
    Format.RASDAEMON_DB: _loaded("rasdaemon_db", "read_image"),
}
"""For each form, the reader of a whole blob: it never raises for what the bytes say."""


def detect(head: bytes, name: str, size: int) -> Format | None:
    """The binary form of a file called ``name``, of ``size`` bytes, that begins with ``head``; None if it is none.

    Forms with a signature come first, then those that are known by their consistency alone.
    """
    from ringfence.record.binary import cper, ghes, pstore, rasdaemon_db, struct_mce, xen_mc_info  # noqa: PLC0415 (see above)

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
    if b"\0" in head:
        return False
    if not head.startswith(CPER_SIGNATURE):
        return True
    from ringfence.record.binary import cper  # noqa: PLC0415 (see above)

    return not cper.begins_with_one(head)


def read(format: Format, blob: bytes, file: str) -> Iterator[Evidence | PstoreText]:  # noqa: A002 (the word of the enum)
    """The evidence in a file of a known binary form. Kernel logs found in it are handed on as ``PstoreText``.

    Raises KeyError if ``format`` is not a binary one.
    """
    return READERS[format](blob, file)
