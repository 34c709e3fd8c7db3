"""rasdaemon's SQLite file (ras-mc_event.db), of every age: whichever of the known columns are there are read.

Tables: rasdaemon ras-record.c, from 0.3 (2013) to 0.8.4. Read are mce_record, mc_event, memory_failure_event and
extlog_event; a row of non_standard_event is a firmware section that nobody could name, and is shown as such. The other
tables (aer_event, devlink_event, disk_errors, arm_event, cxl_*, signal_event, reri_event) are about other things.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ringfence.errors import FormatError, SourceError
from ringfence.record.binary import cper_memory
from ringfence.record.binary.cper_memory import ERROR_TYPES
from ringfence.record.binary.cper_section import SEVERITIES, fru_text
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Evidence,
    Format,
    Location,
    MemoryReport,
    Origin,
    Record,
    Unrecognised,
)
from ringfence.record.text.edac import module_handle

SIGNATURE: Final = b"SQLite format 3\0"
_WRITE_VERSION_AT, _READ_VERSION_AT, _WAL, _ROLLBACK = 18, 19, 2, 1

MAX_VALUE_BYTES: Final = 1 << 20
"""The largest text or blob that is read; rasdaemon's own are below 9 KiB (struct mce_event)."""

MAX_COLUMNS: Final = 200
"""The most columns that a table may have; rasdaemon's largest have about 40."""

Value = int | float | str | bytes | None
Row = Mapping[str, Value]

_PAGE_SHIFT = 12
_LOCK_TIMEOUT_S = 2.0
_DAMAGE = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged database raises: also UnicodeDecodeError, if the error's text quotes a damaged name."""
_FIRST_ROWID, _LAST_ROWID = -(1 << 63), (1 << 63) - 1
_BATCH_ROWS = 1000


class _Row:
    """One row: its place, and its columns by name (a column that the table does not have is absent)."""

    __slots__ = ("origin", "raw", "table", "values")

    def __init__(self, table: str, origin: Origin, values: Row) -> None:
        self.table, self.origin, self.values = table, origin, values
        shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
        document = {"table": table, "rowid": origin.offset, **shown}
        self.raw = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")

    def text(self, name: str) -> str | None:
        """A text that is not empty; None for anything else."""
        value = self.values.get(name)
        return value if isinstance(value, str) and value.strip() else None

    def blob(self, name: str) -> bytes | None:
        """A blob, or the bytes of a text; None for anything else."""
        value = self.values.get(name)
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        return value if isinstance(value, bytes) else None

    def number(self, name: str, bits: int = 64) -> int | None:
        """An unsigned number of so many bits, which SQLite holds as a signed one; None if there is no number.

        Raises FormatError if it does not fit.
        """
        value = self.values.get(name)
        if not isinstance(value, int):
            return None
        if value < 0:
            # The narrow columns were bound as C ints: their sign is bit 31.
            width = 32 if bits <= 32 or name in _BOUND_AS_INT else 64
            value += 1 << width
        if not 0 <= value < 1 << bits:
            raise FormatError(f"{self.table}.{name} is {self.values[name]!r}, which does not fit {bits} bits")
        return value

    def claims(self, *columns: tuple[ClaimKind, str]) -> tuple[Claim, ...]:
        """The texts in these columns, word for word."""
        texts = ((kind, self.text(name)) for kind, name in columns)
        return tuple(Claim(kind, text, self.origin) for kind, text in texts if text is not None)

    def record(self) -> Record:
        """What every record from this file has."""
        stamp = self.text("timestamp")
        return Record(origin=self.origin, format=Format.RASDAEMON_DB, raw=self.raw, stamp=stamp, time=_time(stamp))


_BOUND_AS_INT = frozenset({"mcgcap", "mcgstatus"})
"""64-bit registers that rasdaemon stores with sqlite3_bind_int, and so cut to 32 bits (ras_store_mce_record)."""


def _time(stamp: str | None) -> float | None:
    """Seconds since 1970 of rasdaemon's "2024-01-31 12:00:00 +0100"; None if it is no such text."""
    try:
        return datetime.strptime((stamp or "")[:40], "%Y-%m-%d %H:%M:%S %z").timestamp()
    except (ValueError, OverflowError):
        return None


# --- the tables ------------------------------------------------------------------------------------------------------

_MCE_NUMBERS: Final = {
    "mcgcap": 64, "mcgstatus": 64, "status": 64, "addr": 64, "misc": 64, "ip": 64, "tsc": 64, "walltime": 64,
    "ppin": 64, "synd": 64, "ipid": 64, "cpu": 32, "cpuid": 32, "apicid": 32, "socketid": 32, "cs": 8, "bank": 8,
    "cpuvendor": 8, "microcode": 32,
}  # fmt: skip
_MCE_TEXTS: Final = (
    (ClaimKind.OTHER, "bank_name"),
    (ClaimKind.ERROR, "error_msg"),
    (ClaimKind.OTHER, "mcgstatus_msg"),
    (ClaimKind.OTHER, "mcistatus_msg"),
    (ClaimKind.ERROR, "mcastatus_msg"),
    (ClaimKind.OTHER, "user_action"),
    (ClaimKind.OTHER, "mc_location"),
)


def _mce_record(row: _Row) -> Record:
    """A row of mce_record: the trace event mce:mce_record, whose fields are those of ``struct mce``.

    synd and ipid are read should a version store them; up to 0.8.4 none does, though the event has them.
    """
    numbers = {name: row.number(name, bits) for name, bits in _MCE_NUMBERS.items()}
    if numbers["status"] is None:
        raise FormatError("mce_record without a status")

    def of(name: str) -> int:
        return numbers[name] or 0

    mce = StructMce(
        status=of("status"), misc=of("misc"), addr=of("addr"), mcgstatus=of("mcgstatus"), ip=of("ip"), tsc=of("tsc"),
        time=of("walltime"), cpuvendor=of("cpuvendor"), cpuid=of("cpuid"), cs=of("cs"), bank=of("bank"),
        cpu=of("cpu") & 0xFF, extcpu=of("cpu"), socketid=numbers["socketid"], apicid=numbers["apicid"],
        mcgcap=of("mcgcap"), synd=of("synd"), ipid=of("ipid"), ppin=of("ppin"), microcode=of("microcode"),
    ).record(origin=row.origin, raw=row.raw, format=Format.RASDAEMON_DB)  # fmt: skip
    common = row.record()
    has_mcg_status = numbers["mcgstatus"] is not None
    return replace(
        mce,
        registers=mce.registers if has_mcg_status else replace(mce.registers, mcg_status=None),
        delivery=mce.delivery if has_mcg_status or mce.delivery is Delivery.FIRMWARE else Delivery.UNKNOWN,
        bank=numbers["bank"],
        cpu=numbers["cpu"],
        time=common.time if mce.time is None else mce.time,
        stamp=common.stamp,
        claims=row.claims(*_MCE_TEXTS),
    )


_EDAC_SEVERITIES: Final = {
    "Corrected": ClaimedSeverity.CORRECTED,
    "Uncorrected": ClaimedSeverity.RECOVERABLE,
    "Deferred": ClaimedSeverity.DEFERRED,
    "Fatal": ClaimedSeverity.FATAL,
    "Info": ClaimedSeverity.INFORMATIONAL,
}


def _mc_event(row: _Row) -> Record:
    """A row of mc_event: EDAC's trace event ras:mc_event.

    Not taken as numbers: the layers, whose meaning depends on the driver, and the grain, which is stored as the event's
    grain_bits, whose rounding changed between kernels. Both are kept as claims.
    """
    layers = [row.values.get(name) for name in ("top_layer", "middle_layer", "lower_layer")]
    # -1 is "no such layer"; before 2014 it was stored as 255.
    texts = [":".join(str(layer) for layer in layers if layer not in {None, -1, 255})]
    claims = [Claim(ClaimKind.EDAC, f"layers {text}", row.origin) for text in texts if text]
    if (grain := row.number("grain")) is not None:
        claims.append(Claim(ClaimKind.EDAC, f"grain {grain} (bits)", row.origin))
    kind = row.text("err_type")
    severity = _EDAC_SEVERITIES.get(kind or "")
    if kind is not None and severity is None:
        claims.append(Claim(ClaimKind.SEVERITY, kind, row.origin))
    return replace(
        row.record(),
        count=max(1, row.number("err_count", 32) or 1),
        memory=MemoryReport(
            severity=severity,
            error=row.text("err_msg"),
            location=Location(
                controller=row.number("mc", 32), label=row.text("label"), syndrome=row.number("syndrome") or None
            ),
            # EDAC gives zero where a driver does not know the address.
            physical_address=row.number("address") or None,
            module_handle=module_handle(row.text("driver_detail") or ""),
        ),
        claims=(*claims, *row.claims((ClaimKind.EDAC, "driver_detail"))),
    )


def _memory_failure_event(row: _Row) -> Record:
    """A row of memory_failure_event: the trace event ras:memory_failure_event. Its frame number is stored as text."""
    pfn = row.text("pfn")
    try:
        frame = int(pfn or "", 16)
    except ValueError:
        raise FormatError(f"memory_failure_event.pfn is {pfn!r}") from None
    if not 0 <= frame < 1 << 64 - _PAGE_SHIFT:
        raise FormatError(f"memory_failure_event.pfn is {pfn!r}")
    words = [text for text in (row.text("page_type"), row.text("action_result")) if text]
    return replace(
        row.record(),
        memory=MemoryReport(
            severity=ClaimedSeverity.RECOVERABLE,
            error=": ".join(words) or None,
            page_frame=frame,
            physical_address=frame << _PAGE_SHIFT,
            grain_bytes=1 << _PAGE_SHIFT,
        ),
        claims=row.claims((ClaimKind.MEMORY_FAILURE, "page_type"), (ClaimKind.MEMORY_FAILURE, "action_result")),
    )


def _extlog_event(row: _Row) -> Record:
    """A row of extlog_event: the trace event ras:extlog_mem_event, firmware's memory error section beside a #MC.

    The column error_count holds the event's sequence number, not a count (ras_store_extlog_mem_record).
    """
    severity, kind = row.number("severity", 32), row.number("etype", 32)
    address = row.number("address")
    digest = row.blob("cper_data")
    section = cper_memory.unpack_compact(digest) if digest else cper_memory.MemorySection()
    name = fru_text(row.blob("fru_text") or b"")
    report = section.report(
        ClaimedSeverity(SEVERITIES[severity]) if severity is not None and severity < len(SEVERITIES) else None, name
    )
    sequence = row.number("error_count", 32)
    texts = [(ClaimKind.FIRMWARE, f"sequence number {sequence}")] if sequence is not None else []
    return replace(
        row.record(),
        delivery=Delivery.FIRMWARE,
        memory=replace(
            report,
            # All ones is "not valid" for both (include/ras/ras_event.h, extlog_mem_event).
            error=ERROR_TYPES[kind] if kind is not None and kind < len(ERROR_TYPES) else None,
            physical_address=None if address == (1 << 64) - 1 else address,
        ),
        claims=tuple(Claim(kind_, text, row.origin) for kind_, text in (*texts, *section.claims())),
    )


def _non_standard_event(row: _Row) -> Unrecognised:
    severity = row.text("severity") or "unknown severity"
    return Unrecognised(row.origin, row.raw, f"firmware error section of a type unknown to the kernel, {severity}")


_COMMON = ("timestamp",)
_TABLES: Final[dict[str, tuple[tuple[str, ...], Callable[[_Row], Evidence]]]] = {
    "mce_record": (
        (*_COMMON, *_MCE_NUMBERS, *(name for _, name in _MCE_TEXTS)),
        _mce_record,
    ),
    "mc_event": (
        (
            *_COMMON, "err_count", "err_type", "err_msg", "label", "mc", "top_layer", "middle_layer", "lower_layer",
            "address", "grain", "syndrome", "driver_detail",
        ),
        _mc_event,
    ),
    "memory_failure_event": ((*_COMMON, "pfn", "page_type", "action_result"), _memory_failure_event),
    "extlog_event": (
        (*_COMMON, "etype", "error_count", "severity", "address", "fru_id", "fru_text", "cper_data"),
        _extlog_event,
    ),
    "non_standard_event": (
        (*_COMMON, "sec_type", "fru_id", "fru_text", "severity", "error"),
        _non_standard_event,
    ),
}  # fmt: skip


# --- the file --------------------------------------------------------------------------------------------------------


def detect(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is an SQLite database (of whom, its tables will tell)."""
    return head.startswith(SIGNATURE)


def read(path: Path) -> Iterator[Evidence]:
    """The rows of every known table, table by table, in the order in which they were stored.

    The origin's offset is the row's id; ``raw`` is the row as JSON, with its table. The file is opened read-only, and a
    running rasdaemon may go on writing. What turns out to be damaged is Unrecognised, from that point on.
    Raises SourceError if the file cannot be opened, or is no database.
    """
    with closing(_open(path)) as connection:
        yield from _read(connection, str(path))


def read_since(path: Path, after: Mapping[str, int], limit: int) -> list[tuple[str, Evidence]]:
    """As ``read``, at most ``limit``, each with its table, and of the tables in ``after`` only the rows after that id.

    What is wrong with the whole file comes with an empty table name. Raises SourceError as ``read`` does.
    """
    with closing(_open(path)) as connection:
        return list(islice(_read_tables(connection, str(path), after), limit))


def read_image(blob: bytes, file: str) -> Iterator[Evidence]:
    """As ``read``, of a database's bytes (from a pipe or an archive), without any journal. Nothing is raised."""
    origin = Origin(file)
    if not detect(blob):
        yield Unrecognised(origin, blob, "no SQLite database")
        return
    image = bytearray(blob)
    if len(image) > _READ_VERSION_AT and image[_READ_VERSION_AT] == _WAL:
        # In memory there is no write-ahead log: without this, SQLite refuses the image (sqlite3_deserialize).
        image[_WRITE_VERSION_AT] = image[_READ_VERSION_AT] = _ROLLBACK
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.deserialize(bytes(image))
        except (*_DAMAGE, OverflowError) as error:
            yield Unrecognised(origin, blob, f"SQLite database that cannot be opened: {error}")
            return
        yield from _read(connection, file)


def _open(path: Path) -> sqlite3.Connection:
    advice = "Check that the file exists, is readable, and was copied whole (with its -wal file, if it has one)."
    try:
        with path.open("rb") as file:
            head = file.read(_READ_VERSION_AT + 1)
    except OSError as error:
        raise SourceError(path, str(error.strerror or error), advice=advice) from error
    if not detect(head):
        raise SourceError(path, "no SQLite database", advice=advice)
    log = path.with_name(path.name + "-wal")
    # A database in WAL mode without its log has no writer, and cannot be opened from a read-only place otherwise.
    is_at_rest = head[_READ_VERSION_AT : _READ_VERSION_AT + 1] == bytes([_WAL]) and not log.exists()
    options = "mode=ro&immutable=1" if is_at_rest else "mode=ro"
    try:
        return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True, timeout=_LOCK_TIMEOUT_S)
    except sqlite3.Error as error:
        raise SourceError(path, str(error), advice=advice) from error


def _read(connection: sqlite3.Connection, file: str) -> Iterator[Evidence]:
    return (item for _, item in _read_tables(connection, file, {}))


def _read_tables(connection: sqlite3.Connection, file: str, after: Mapping[str, int]) -> Iterator[tuple[str, Evidence]]:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, MAX_COLUMNS)
    connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
    try:
        # The file's own schema is not trusted to call functions, nor its pages to be sound.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        # Views are left out: one that is named like a table could be a query without an end.
        schema = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchmany(10_000))
    except _DAMAGE as error:
        yield "", Unrecognised(Origin(file), b"", f"SQLite database that cannot be read: {error}")
        return
    if not schema.keys() & _TABLES.keys():
        yield "", Unrecognised(Origin(file), b"", "SQLite database without a table of rasdaemon's")
    for table in _TABLES:
        if table in schema and not str(schema[table]).upper().startswith("CREATE VIRTUAL"):
            start = after[table] + 1 if table in after else _FIRST_ROWID
            for item in _read_table(connection, file, table, start):
                yield table, item


def _read_table(
    connection: sqlite3.Connection,
    file: str,
    table: str,
    start: int,
) -> Iterator[Evidence]:
    latest = None
    columns, build = _TABLES[table]
    try:
        there = {str(column[1]) for column in connection.execute(f"PRAGMA table_info({table})")}
        names = [name for name in columns if name in there]
        selected = ", ".join(["rowid", *(f'"{name}"' for name in names)])
        # Every name in it comes from the tables above, not from the file.
        query = f"SELECT {selected} FROM {table} WHERE rowid = ?"  # noqa: S608 (see above)
        for latest in _rowids(connection, table, start):
            origin = Origin(file, offset=latest)
            try:
                found = connection.execute(query, (latest,)).fetchone()
                if found is None:
                    raise sqlite3.DatabaseError("the row cannot be found by its id")
                _, *values = found
                row = _Row(table, origin, dict(zip(names, values, strict=True)))
            except _DAMAGE as error:
                yield Unrecognised(origin, b"", f"row {latest} of table {table} cannot be read: {error}")
                continue
            try:
                yield build(row)
            except FormatError as error:
                yield Unrecognised(row.origin, row.raw, str(error))
    except _DAMAGE as error:
        yield Unrecognised(Origin(file, offset=latest), b"", f"table {table} cannot be read further: {error}")


def _rowids(connection: sqlite3.Connection, table: str, start: int) -> Iterator[int]:
    """The ids of a table's rows from ``start`` on, ascending, up to where the file is damaged.

    Then it raises one of ``_DAMAGE``.

    They are fetched apart from the rows, and in batches: a cursor of Python's steps ahead, so that an error in one row
    would take the row before it along.
    """
    query = f"SELECT rowid FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT ?"  # noqa: S608 (one of _TABLES)
    batch = _BATCH_ROWS
    while start <= _LAST_ROWID:
        try:
            rowids = [int(rowid) for (rowid,) in connection.execute(query, (start, batch))]
        except _DAMAGE:
            if batch == 1:
                raise
            batch = 1
            continue
        for rowid in rowids:
            if rowid < start:
                # Only in a damaged file, whose pages could go round for ever.
                raise sqlite3.DatabaseError("rows are not in the order of their ids")
            yield rowid
            start = rowid + 1
        if not rowids:
            return
