"""Fixed little-endian layouts, taken out of bytes that nobody vouches for.

Every reader of this folder goes through ``take`` and ``part``: what lies outside of the blob is a ``FormatError`` with
its offset, never an IndexError or a ``struct.error``, and nothing is allocated before it is known to be there. Every
writer goes through ``give``.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import Any

from ringfence.errors import FormatError


def take(layout: Struct, blob: bytes, offset: int, what: str) -> tuple[Any, ...]:
    """The values of ``layout`` at byte ``offset``. ``what`` names the structure in the error.

    Raises FormatError if the structure is not wholly inside the blob.
    """
    return layout.unpack(part(blob, offset, layout.size, what))


def part(blob: bytes, offset: int, length: int, what: str) -> bytes:
    """Exactly ``length`` bytes from ``offset``. Raises FormatError if they are not all there."""
    if offset < 0 or length < 0 or offset + length > len(blob):
        left = max(0, len(blob) - offset)
        raise FormatError(f"{what} needs {length} bytes and {left} are left", offset=max(0, offset))
    return blob[offset : offset + length]


def give(layout: Struct, what: str, *values: int | bytes) -> bytes:
    """The bytes of ``layout`` with these values. Raises ValueError if one does not fit its field."""
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise ValueError(f"a value does not fit {what}: {error}") from error
