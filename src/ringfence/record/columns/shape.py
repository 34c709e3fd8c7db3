"""The shape of what stands before a record's line: stamps with their digits, the host, and the kernel's tag.

Only prefixes of a known form are taken for plain; a prefix is compared character by character with the one that was
judged, digits of its stamps excepted. The number of blanks that pad a stamp belongs to the shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from ringfence.record.columns.digits import Flags, Positions, Text, Words, digits_only, mask, word

TAG: Final = b"[Hardware Error]: "
"""The kernel's HW_ERR (Linux include/linux/printk.h)."""

LONGEST_PREFIX_BYTES: Final = 160
"""A syslog stamp, a host name of 63 characters and dmesg's stamp fit; what is longer is read line by line."""

_STAMPED: Final = re.compile(
    rb"""
    (?P<time> (?: [A-Z][a-z]{2}\ [ \d]\d\ \d\d:\d\d:\d\d                                    # syslog, RFC 3164
                | \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (?:[.,]\d{3,6})? (?:Z|[+-]\d\d:?\d\d) ) )   # ISO 8601, RFC 5424
    \ [A-Za-z0-9][A-Za-z0-9_.-]{0,62}\ kernel:\ (?P<uptime>\[\ *\d{1,10}\.\d{6}\]\ )?
    | (?P<dmesg>\[\ *\d{1,10}\.\d{6}\]\ )
    | (?P<wall>\[[A-Z][a-z]{2}\ [A-Z][a-z]{2}\ [ \d]\d\ \d\d:\d\d:\d\d\ \d{4}\]\ )          # dmesg -T
    | kernel:[ ]
    """,
    re.VERBOSE,
)
_TAGGED: Final = re.compile(rb"(?:mce: )?" + re.escape(TAG))


@dataclass(frozen=True, slots=True)
class Matched:
    """How lines compare with a shape: the stamp agrees; all of the prefix does; the eight characters behind it."""

    stamped: Flags
    tagged: Flags
    body: Words


@dataclass(frozen=True, slots=True)
class Shape:
    """A prefix with its digits set to '0': ``stamp_bytes`` of stamps, then the kernel's tag. Made by ``judged``."""

    prefix: bytes
    stamp_bytes: int
    digit_columns: frozenset[int]

    def match(self, text: Text, starts: Positions) -> Matched:
        """Compare the lines that start at ``starts``."""
        length = len(self.prefix)
        rows = text.rows(starts, length // 8 + 2)
        unstamped = np.zeros(len(starts), np.uint64)
        untagged = np.zeros(len(starts), np.uint64)
        for index in range((length + 7) // 8):
            first = 8 * index
            wanted = self.prefix[first : first + 8]
            difference = rows[:, index] ^ word(wanted)
            digits = {column - first for column in self.digit_columns if first <= column < first + 8}
            fixed = bytes(0 if column in digits else 0xFF for column in range(len(wanted)))
            stamp = mask(min(8, max(0, self.stamp_bytes - first)))
            if stamp:
                unstamped |= difference & (word(fixed) & stamp)
            if stamp != mask(8):
                untagged |= difference & (word(fixed) & ~stamp)
            if digits:
                unstamped |= digits_only(difference, word(bytes(0x80 if c in digits else 0 for c in range(8))))
        shift = np.uint64(8 * (length % 8))
        body = rows[:, length // 8] >> shift
        body |= rows[:, length // 8 + 1] << (np.uint64(64) - shift)
        stamped = unstamped == 0
        return Matched(stamped, stamped & (untagged == 0), body)


def judged(line: bytes) -> Shape | None:
    """The shape of the prefix of a line, or None if the line has no prefix of a known form that ends in the tag."""
    stamp = _STAMPED.match(line)
    stamp_bytes = stamp.end() if stamp else 0
    tag = _TAGGED.match(line, stamp_bytes)
    if tag is None or tag.end() > LONGEST_PREFIX_BYTES:
        return None
    columns: set[int] = set()
    for group in ("time", "uptime", "dmesg", "wall"):
        if stamp is not None and stamp.group(group):
            columns.update(at for at in range(*stamp.span(group)) if line[at : at + 1].isdigit())
    prefix = bytes(0x30 if at in columns else line[at] for at in range(tag.end()))
    # Without stamps an ordinary line cannot be told from the rest of a wrapped one: the tag itself has to do.
    return Shape(prefix, stamp_bytes or len(prefix), frozenset(columns))
