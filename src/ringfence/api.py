"""The Python API: findings of files, of registers, and of many files as a table.

from ringfence import api

for item in api.findings("/var/log/kern.log"):
    ...
api.finding(status=0xBE00000000800400, processor="0:206c2", bank=5).summary
api.table("/var/log/kern.log").to_pandas()
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.arch.mcg import MCIP
from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.dimm import KnownDimms
from ringfence.diagnosis.finding import Event, Finding, diagnose, events
from ringfence.errors import FormatError, SourceError
from ringfence.record.binary import smbios as smbios_table
from ringfence.record.evidence import Delivery, Evidence, Format, Origin, Record, Registers, Unrecognised
from ringfence.record.reader import read
from ringfence.record.sources import Source, expand, is_of_this_machine

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Event",
    "Finding",
    "Unrecognised",
    "dimms",
    "evidence",
    "finding",
    "findings",
    "processor",
    "table",
    "typed",
]

_VENDOR_NAMES = {vendor.value.lower(): vendor for vendor in Vendor}


def processor(text: str) -> KnownProcessor:
    """The processor that ``VENDOR:SIGNATURE`` names, as the kernel prints it after PROCESSOR ("0:306f2", "amd:a00f11").

    VENDOR is Linux's X86_VENDOR number or the vendor's name, SIGNATURE is CPUID.1:EAX in hexadecimal, or empty if only
    the vendor is known. Raises ValueError, which says what is allowed.
    """
    vendor_text, _, signature = text.strip().partition(":")
    vendor = _VENDOR_NAMES.get(vendor_text.lower())
    if vendor is None and vendor_text.isdecimal():
        vendor = LINUX_VENDORS.get(int(vendor_text))
    signature = signature.lower().removeprefix("0x")
    if vendor is None or not re.fullmatch(r"[0-9a-f]{0,8}", signature):
        allowed = ", ".join(f"{number} or {known.lower()}" for number, known in LINUX_VENDORS.items())
        raise ValueError(f"{text!r} is no processor: give VENDOR:SIGNATURE, e.g. 0:306f2; VENDOR is {allowed}")
    return KnownProcessor(vendor, int(signature, 16) if signature else None, "the caller")


def evidence(*paths: str | PathLike[str]) -> Iterator[Evidence]:
    """Records and unreadable evidence of files, directories and ``-`` (standard input), not yet decoded.

    Raises SourceError for what cannot be opened.
    """
    for source in expand(tuple(fspath(path) for path in paths)):
        yield from read(source)


Smbios = str | PathLike[str]
"""Which SMBIOS table names DIMMs: ``auto``, ``here``, ``none``, or a file (see ``dimms``)."""


def dimms(smbios: Smbios, sources: Iterable[Source]) -> KnownDimms | None:
    """The names of DIMMs that may be given to the evidence of ``sources``, None if there are none.

    ``auto``: those of this machine's own table, for sources that are provably of this machine
    (``record.sources.OWN_PLACES``); none if the table is not there, not readable or broken. ``here``: the same table,
    and the caller says that all sources are of this machine. ``none``: none. Anything else is a file with the table of
    the machine that all sources are of: a copy of /sys/firmware/dmi/tables/DMI, or of ``dmidecode --dump-bin``.

    Raises SourceError, except in ``auto``, if the table cannot be read.
    """
    match fspath(smbios):
        case "none":
            return None
        case "auto":
            own = frozenset(source.name for source in sources if is_of_this_machine(source))
            try:
                return KnownDimms(_memory_devices(smbios_table.TABLE_FILE), _OWN_TABLE, own) if own else None
            except SourceError:
                return None
        case "here":
            return KnownDimms(_memory_devices(smbios_table.TABLE_FILE), _OWN_TABLE)
        case file:
            return KnownDimms(_memory_devices(file), f"the SMBIOS table {file}")


_OWN_TABLE = "this machine's SMBIOS table"


def _memory_devices(file: str) -> tuple[smbios_table.MemoryDevice, ...]:
    try:
        with Path(file).open("rb") as stream:
            table = stream.read(smbios_table.MAX_TABLE_BYTES + 1)
        return smbios_table.read(table)
    except OSError as error:
        raise SourceError(file, error.strerror or str(error), advice="Check the name and your rights.") from error
    except FormatError as error:
        raise SourceError(
            file, str(error), advice="Give a copy of /sys/firmware/dmi/tables/DMI, or what dmidecode --dump-bin writes."
        ) from error


def findings(
    *paths: str | PathLike[str], known: KnownProcessor | str | None = None, smbios: Smbios = "auto"
) -> Iterator[Event | Unrecognised]:
    """Every event in files, directories and ``-`` (standard input), in their order, further reports folded in.

    ``known`` names the processor of records that name none (see ``processor``), ``smbios`` the DIMMs (see ``dimms``).
    What looks like evidence and cannot be read comes out as ``Unrecognised``. Memory is bounded. Raises SourceError for
    what cannot be opened, ValueError for a processor that is none.
    """
    sources = list(expand(tuple(fspath(path) for path in paths)))
    found = (item for source in sources for item in read(source))
    return events(found, processor(known) if isinstance(known, str) else known, dimms(smbios, sources))


def typed(registers: Registers, *, bank: int | None = None, known: KnownProcessor | None = None) -> Record:
    """A record of registers that somebody typed. MCG_STATUS, if given, says whether it came by #MC."""
    delivery = Delivery.UNKNOWN
    if registers.mcg_status is not None:
        delivery = Delivery.MACHINE_CHECK if registers.mcg_status & MCIP.mask else Delivery.POLLED
    given = {name: getattr(registers, name) for name in Registers.__slots__}
    return Record(
        origin=Origin("typed"),
        format=Format.TYPED,
        raw=" ".join(f"{name}={value:#x}" for name, value in given.items() if value is not None).encode(),
        registers=registers,
        bank=bank,
        vendor=known.vendor if known is not None else None,
        cpuid=known.cpuid if known is not None else None,
        delivery=delivery,
    )


def finding(
    *, bank: int | None = None, processor: KnownProcessor | str | None = None, **registers: int | None
) -> Finding:
    """The finding of registers given by hand: ``status`` and any of ``record.evidence.Registers``.

    Raises ValueError without a status or for a processor that is none, TypeError for an unknown register.
    """
    if registers.get("status") is None:
        raise ValueError("a finding needs MCi_STATUS: give status=")
    known = _processor(processor) if isinstance(processor, str) else processor
    return diagnose(typed(Registers(**registers), bank=bank, known=known))


_processor = processor


def table(*paths: str | PathLike[str], known: KnownProcessor | str | None = None, smbios: Smbios = "auto") -> pa.Table:
    """Every report in files and directories as an Arrow table, one row a report (``views.arrow.SCHEMA``).

    All of it is held in memory, about 250 bytes a report: for more, use ``ringfence decode --parquet``.
    Raises MissingExtraError without the optional dependencies ``columnar``, SourceError for what cannot be opened.
    """
    from ringfence.diagnosis.batches import batches  # noqa: PLC0415 (numpy is loaded for tables only)
    from ringfence.views.arrow import whole_table  # noqa: PLC0415

    sources = list(expand(tuple(fspath(path) for path in paths)))
    stated = processor(known) if isinstance(known, str) else known
    return whole_table(batches(sources, stated, dimms(smbios, sources)))
