"""Reading the xenstore from Dom0, over /dev/xen/xenbus: names of domains, and no more.

Source: xen/include/public/io/xs_wire.h. Whatever a guest wrote there is hostile until it was checked.
"""

from __future__ import annotations

import os
import select
from pathlib import Path
from struct import Struct
from typing import Final

DEVICE: Final = Path("/dev/xen/xenbus")
READ: Final = 2
ERROR: Final = 16
WAIT_S: Final = 2.0
"""xenstored answers in a millisecond; one that is stuck must not hold up who decides."""
MOST_BYTES: Final = 4096
"""XENSTORE_PAYLOAD_MAX."""

_HEAD: Final = Struct("<IIII")


def read(path: str, device: Path = DEVICE) -> str | None:
    """The value at a path; None if there is none, or nobody answers."""
    given = path.encode() + b"\0"
    try:
        file = os.open(device, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        os.write(file, _HEAD.pack(READ, 1, 0, len(given)) + given)
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
