"""Reading the xenstore from Dom0, over /dev/xen/xenbus: names of domains, their disks, and who serves whom.

Source: xen/include/public/io/xs_wire.h. Whatever a guest wrote there is hostile until it was checked.
"""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from struct import Struct
from typing import Final

DEVICE: Final = Path("/dev/xen/xenbus")
DIRECTORY: Final = 1
READ: Final = 2
ERROR: Final = 16
WAIT_S: Final = 2.0
"""xenstored answers in a millisecond; one that is stuck must not hold up who decides."""
SILENT_S: Final = 30.0
"""A Store that was not answered once does not ask again so soon: what depends on it does without."""
MOST_BYTES: Final = 4096
"""XENSTORE_PAYLOAD_MAX."""

_HEAD: Final = Struct("<IIII")


class Store:
    """The xenstore of this machine."""

    def __init__(self, device: Path = DEVICE) -> None:
        self._device = device
        self._asked_again_s = 0.0

    def read(self, path: str) -> str | None:
        """The value at a path; None if there is none, or nobody answers."""
        return self._ask(READ, path)

    def _ask(self, what: int, path: str) -> str | None:
        began_s = time.monotonic()
        if began_s < self._asked_again_s:
            return None
        found = _asked(what, path, self._device)
        if time.monotonic() - began_s >= WAIT_S:
            self._asked_again_s = time.monotonic() + SILENT_S
        return found

    def directory(self, path: str) -> tuple[str, ...]:
        """The names below a path; none if there is no such path, if nobody answers, or if they are more than 4 KiB."""
        found = self._ask(DIRECTORY, path)
        return () if not found else tuple(name for name in found.split("\0") if name)


def read(path: str, device: Path = DEVICE) -> str | None:
    """The value at a path; None if there is none, or nobody answers."""
    return _asked(READ, path, device)


def _asked(what: int, path: str, device: Path) -> str | None:
    given = path.encode() + b"\0"
    try:
        file = os.open(device, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        os.write(file, _HEAD.pack(what, 1, 0, len(given)) + given)
        held = b""
        while len(held) < _HEAD.size or len(held) < _HEAD.size + _HEAD.unpack_from(held)[3]:
            if not select.select([file], [], [], WAIT_S)[0]:
                return None
            more = os.read(file, _HEAD.size + MOST_BYTES)
            if not more:
                return None
            held += more
    except OSError:
        return None
    finally:
        os.close(file)
    kind, _, _, size = _HEAD.unpack_from(held)
    if kind == ERROR or size > MOST_BYTES:
        return None
    return held[_HEAD.size : _HEAD.size + size].decode("utf-8", "backslashreplace")
