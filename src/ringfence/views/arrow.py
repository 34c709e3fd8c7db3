"""Findings as an Arrow table, one row a report, and as a Parquet file. The columns are ``SCHEMA``.

Needs numpy and pyarrow (the optional dependencies ``columnar``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ringfence.errors import MissingExtraError

if find_spec("numpy") is None or find_spec("pyarrow") is None:
    raise MissingExtraError("writing tables", "columnar")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.folding import RELATIONS
from ringfence.diagnosis.numbers import address_column, granularity_column, number_column
from ringfence.diagnosis.table import Batch
from ringfence.record.columns import Columns, Present
from ringfence.record.evidence import Format, Location, Record, Unrecognised
from ringfence.views.bulk import Sentences

_WORDS: Final = pa.dictionary(pa.int32(), pa.string())
_REGISTERS: Final = ("status", "addr", "misc", "synd", "ipid", "mcg_status", "mcg_cap", "tsc", "ppin", "ip")
_NUMBERS: Final = tuple(name for name in Location.__slots__ if name not in {"label", "socket"})
_COUNTS: Final = ("corrected_count", "threshold_count")

_OF_KIND: Final[dict[str, tuple[pa.DataType, Callable[[Finding], Any]]]] = {
    "vendor": (_WORDS, lambda f: f.vendor and str(f.vendor)),
    "microarchitecture": (_WORDS, lambda f: f.microarchitecture),
    "delivery": (_WORDS, lambda f: str(f.record.delivery)),
    "class": (_WORDS, lambda f: str(f.error_class)),
    "severity": (_WORDS, lambda f: str(f.severity)),
    "rule": (_WORDS, lambda f: f.reasons[0].rule if f.reasons else None),
    "unit": (_WORDS, lambda f: f.reading.unit),
    "error": (_WORDS, lambda f: f.reading.error),
    "summary": (_WORDS, lambda f: f.summary),
    "address_kind": (_WORDS, lambda f: str(f.reading.address.kind)),
    "granularity_bytes": (pa.uint64(), lambda f: f.reading.address.granularity_bytes),
    "names_a_page": (pa.bool_(), lambda f: f.reading.address.names_a_page),
    "location_label": (_WORDS, lambda f: f.reading.location.label),
}
"""What all records of a kind have in common, but for some of these."""

_REFINED: Final = frozenset({"error", "summary", "granularity_bytes"})

SCHEMA: Final = pa.schema(
    [
        ("file", _WORDS),
        ("line", pa.int64()),
        ("offset", pa.int64()),
        ("format", _WORDS),
        ("time", pa.timestamp("ms", tz="UTC")),
        ("cpu", pa.int64()),
        ("apicid", pa.int64()),
        ("socket", pa.int64()),
        ("bank", pa.int32()),
        ("cpuid", pa.uint32()),
        ("microcode", pa.uint32()),
        *((name, pa.uint64()) for name in _REGISTERS),
        ("address", pa.uint64()),
        *((name, pa.uint64()) for name in _COUNTS),
        *((f"location_{name}", pa.uint64()) for name in _NUMBERS),
        *((name, kind) for name, (kind, _) in _OF_KIND.items()),
        ("event", pa.int64()),
        ("relation", _WORDS),
        ("count", pa.int64()),
        ("unrecognised", pa.string()),
    ]
)
"""``event`` numbers the events; ``relation`` and ``count`` say how a row belongs to its event (``count`` 0: a further
report). ``unrecognised`` is the reason why a piece of evidence could not be read; such a row has nothing else."""


def _repeated(word: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([word]))


def _masked(values: NDArray[Any], has: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    return pa.array(values, mask=~has).cast(kind)


def _of_kind(batch: Batch, name: str, kind: pa.DataType, value: Callable[[Finding], Any]) -> pa.Array:
    values = batch.facts.of_kinds(("column", name), value)
    if kind is not _WORDS:
        return pa.array(values, kind).take(pa.array(batch.kind))
    return _dictionary(values, batch.kind)


def _dictionary(values: Sequence[str | None], which: NDArray[Any]) -> pa.Array:
    """The words at some indices of a list."""
    codes: dict[str, int] = {}
    number = [-1 if word is None else codes.setdefault(word, len(codes)) for word in values]
    rows = np.array(number, np.int32)[which]
    return pa.DictionaryArray.from_arrays(pa.array(rows, mask=rows < 0), pa.array(list(codes), pa.string()))


def _refined(batch: Batch, rows: Columns) -> dict[str, pa.Array]:
    """The columns whose words depend on the row, not on its kind alone."""
    sentences = Sentences.of(batch, rows)
    return {
        "error": _dictionary(sentences.errors, sentences.of_row),
        "summary": _dictionary(sentences.texts, sentences.of_row),
    }


def _rows(batch: Batch, rows: Columns) -> pa.Table:
    count = len(rows)
    present = rows.present
    everywhere = np.ones(count, np.bool_)

    def has(flag: Present) -> NDArray[np.bool_]:
        return np.asarray((present & np.uint8(flag)) != 0)

    known = {
        "status": everywhere, "mcg_status": everywhere, "tsc": everywhere, "addr": has(Present.ADDR),
        "misc": has(Present.MISC), "synd": has(Present.SYND), "ipid": has(Present.IPID), "ppin": has(Present.PPIN),
        "ip": has(Present.IP),
    }  # fmt: skip
    address, has_address = address_column(batch.facts, rows, batch.kind)
    relation = batch.relation[:count]
    columns: dict[str, pa.Array] = {
        "file": _repeated(batch.file, count),
        "line": pa.array(rows.line),
        "offset": pa.nulls(count, pa.int64()),
        "format": _repeated(Format.PRINTK, count),
        "time": pa.array(rows.time * 1000, pa.timestamp("ms", tz="UTC")),
        "cpu": pa.array(rows.cpu.astype(np.int64)),
        "apicid": pa.array(rows.apicid.astype(np.int64)),
        "socket": pa.array(rows.socket.astype(np.int64)),
        "bank": pa.array(rows.bank.astype(np.int32)),
        "cpuid": pa.array(rows.cpuid.astype(np.uint32)),
        "microcode": _masked(rows.microcode, has(Present.MICROCODE), pa.uint32()),
        **{
            name: _masked(getattr(rows, name), known[name], pa.uint64())
            if name in known
            else pa.nulls(count, pa.uint64())
            for name in _REGISTERS
        },
        "address": _masked(address, has_address, pa.uint64()),
        **{name: _masked(*number_column(batch.facts, rows, batch.kind, name), pa.uint64()) for name in _COUNTS},
        **{
            f"location_{name}": _masked(*number_column(batch.facts, rows, batch.kind, name), pa.uint64())
            for name in _NUMBERS
        },
        **{
            name: _of_kind(batch, name, kind, value) for name, (kind, value) in _OF_KIND.items() if name not in _REFINED
        },
        **_refined(batch, rows),
        "granularity_bytes": _masked(*granularity_column(batch.facts, rows, batch.kind), pa.uint64()),
        "event": pa.array(batch.event[:count]),
        "relation": pa.DictionaryArray.from_arrays(
            pa.array(relation.astype(np.int32)), pa.array([str(each) for each in RELATIONS])
        ),
        "count": pa.array((relation == 0).astype(np.int64)),
        "unrecognised": pa.nulls(count, pa.string()),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _other(batch: Batch, at: int, item: Finding | Unrecognised) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    origin = item.origin if isinstance(item, Unrecognised) else item.record.origin
    row |= {"file": origin.file, "line": origin.line, "offset": origin.offset}
    if isinstance(item, Unrecognised):
        return row | {"unrecognised": item.why, "count": 0}
    record: Record = item.record
    reading, relation = item.reading, int(batch.relation[at])
    return row | {
        "format": str(record.format),
        "time": None if record.time is None else int(record.time * 1000),
        "cpu": record.cpu,
        "apicid": record.apicid,
        "socket": record.socket,
        "bank": record.bank,
        "cpuid": record.cpuid,
        "microcode": record.microcode,
        **{name: getattr(record.registers, name) for name in _REGISTERS},
        "address": reading.address.value,
        **{name: getattr(reading, name) for name in _COUNTS},
        **{f"location_{name}": getattr(reading.location, name) for name in _NUMBERS},
        **{name: value(item) for name, (_, value) in _OF_KIND.items()},
        "event": int(batch.event[at]),
        "relation": str(RELATIONS[relation]),
        "count": record.count if relation == 0 else 0,
    }


def table(batch: Batch) -> pa.Table:
    """A batch as a table, its rows in the order of the log."""
    parts = []
    if batch.rows is not None:
        parts.append(_rows(batch, batch.rows))
    if batch.others or not parts:
        others = [_other(batch, at, item) for at, item in enumerate(batch.others, start=batch.row_count)]
        parts.append(pa.Table.from_pylist(others, schema=SCHEMA))
    if len(parts) == 1:
        return parts[0]
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks().take(pa.array(batch.order))


def whole_table(batches: Iterable[Batch]) -> pa.Table:
    """All batches in one table."""
    parts = [table(batch) for batch in batches]
    return pa.concat_tables(parts).unify_dictionaries() if parts else SCHEMA.empty_table()


def write_parquet(batches: Iterable[Batch], path: Path) -> None:
    """Write a Parquet file, one row group a batch. Raises OSError.

    A file appears under its name when it is whole, so that whoever stops the program finds the old one or none. What
    is no regular file (a device, a pipe) is written as it stands.
    """
    if path.exists() and not path.is_file():
        _write_rows(batches, path)
        return
    target = path.resolve()  # a symbolic link stays one
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _write_rows(batches, beside)
        if target.exists():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _write_rows(batches: Iterable[Batch], path: Path) -> None:
    # A stream of our own: Arrow's cannot be opened where there is nothing to seek.
    with path.open("wb") as sink, pq.ParquetWriter(sink, SCHEMA, compression="zstd", compression_level=1) as writer:
        for batch in batches:
            writer.write_table(table(batch))


__all__ = ["SCHEMA", "table", "whole_table", "write_parquet"]
