"""What leaves the journal, kept beside it: compressed files of one JSON object a line, for who wants all of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIX: Final = ".jsonl.zst"
_UNFINISHED: Final = ".unfinished"
LEVEL: Final = 6
"""Of zstd: a tenth of the size; it is done beside the service, and not often."""


class Archive:
    """One file of an archive, being written; it has its name, and is durable, once it is closed.

    A line is ``{"number": N, "event": {...}}``, the event as ``ringfence export`` gives it. ``limit_bytes`` bounds the
    directory: the oldest files go. Raises OSError.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory, self._limit_bytes = directory, limit_bytes
        self._first = self._last = 0
        self._file: zstd.ZstdFile | None = None

    @property
    def _unfinished(self) -> Path:
        return self._directory / f"archive{_UNFINISHED}"

    def add(self, number: int, text: str) -> None:
        """One more event."""
        if self._file is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = zstd.ZstdFile(self._unfinished, "wb", level=LEVEL)
            self._first = number
        self._last = number
        self._file.write(b'{"number":%d,"event":%s}\n' % (number, text.encode()))

    def close(self) -> None:
        """It is whole: make it durable, and make room."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        _sync(self._unfinished, os.O_RDONLY)
        self._unfinished.rename(self._directory / f"events-{self._first:012}-{self._last:012}{SUFFIX}")
        self._make_room()
        _sync(self._directory, os.O_RDONLY | os.O_DIRECTORY)

    def _make_room(self) -> None:
        files = sorted(self._directory.glob(f"events-*{SUFFIX}"))
        sizes = [each.stat().st_size for each in files]
        while len(files) > 1 and sum(sizes) > self._limit_bytes:
            files.pop(0).unlink()
            sizes.pop(0)


def _sync(path: Path, flags: int) -> None:
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
