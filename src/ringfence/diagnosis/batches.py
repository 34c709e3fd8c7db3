"""Any sources as batches of a table: large plain logs by columns, all others as objects.

Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.dimm import KnownDimms
from ringfence.diagnosis.table import Batch, PartReader, TableReader
from ringfence.errors import RingfenceError
from ringfence.record.reader import is_plain_log, read
from ringfence.record.sources import Source


def batches(  # noqa: PLR0913 (what is known, and how to read; each has its default)
    sources: Iterable[Source],
    stated: KnownProcessor | None = None,
    dimms: KnownDimms | None = None,
    *,
    work: type[PartReader] = PartReader,
    progress: Callable[[int], None] | None = None,
    failed: Callable[[Source, RingfenceError], None] | None = None,
) -> Iterator[Batch]:
    """The batches of some sources, one after the other; events are numbered throughout.

    ``failed`` is told of a source that cannot be read, and the next one is taken; without it the SourceError is raised.
    """
    reader = TableReader(stated, dimms)
    for source in sources:
        try:
            if source.path is not None and is_plain_log(source):
                with source.path.open("rb", buffering=0) as file:
                    yield from _told(reader.read(file.fileno(), source.name, work), source, progress)
            else:
                yield from reader.take(read(source, progress), source.name)
        except RingfenceError as error:
            if failed is None:
                raise
            failed(source, error)


def _told(found: Iterator[Batch], source: Source, progress: Callable[[int], None] | None) -> Iterator[Batch]:
    """The batches, with ``progress`` told how far they have come."""
    done = 0
    for batch in found:
        if progress is not None and batch.rows is not None and len(batch.rows):
            progress(int(batch.rows.end[-1]) - done)
            done = int(batch.rows.end[-1])
        yield batch
    if progress is not None and source.size_bytes is not None:
        progress(source.size_bytes - done)
