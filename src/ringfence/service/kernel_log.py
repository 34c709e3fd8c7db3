"""The last place to write to when the disk is full: the kernel's log, which needs no disk and outlives this process."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

KMSG: Final = "/dev/kmsg"
MOST_BYTES: Final = 900
"""Of one line: the kernel cuts what is longer than its own bound (LOG_LINE_MAX, 1,024 less its prefix; Linux
kernel/printk/printk.c)."""
LINES_AN_OPEN: Final = 10
"""Unless `printk.devkmsg=on` (systemd sets it), the kernel takes so many lines in five seconds from one that has opened
it, and drops what comes then without a word (``devkmsg_write`` and ``devkmsg_open`` in Linux kernel/printk/printk.c,
DEFAULT_RATELIMIT_BURST in include/linux/ratelimit_types.h): each time it is opened begins anew."""
_STANDARD_ERROR: Final = 2
_QUIET: Final = "<7>"
"""KERN_DEBUG (include/linux/kern_levels.h): kept as any other, but on no console. Whoever writes waits for a console: a
line takes 80 ms on a serial one of 115,200 baud, and an uncorrected error is told in some fifteen lines."""
_KMSG_DEVICE: Final = os.makedev(1, 11)
"""What standard error is where systemd made it so (`StandardError=kmsg`): a write is one line there, and one that is
longer than a line fails (EINVAL, ``devkmsg_write``)."""


def to_kernel_log(lines: tuple[str, ...], path: str = KMSG) -> bool:
    """Write lines to the kernel's log, each cut to what it takes; to standard error if that cannot be written to.

    Returns whether the kernel took them. Never raises: whoever comes here has nowhere else to go.
    """
    texts = [f"ringfence: {line}".encode()[:MOST_BYTES] for line in lines]
    for at in range(0, len(texts), LINES_AN_OPEN):
        if not _taken(texts[at : at + LINES_AN_OPEN], path):
            _to_standard_error(texts[at:])
            return False
    return True


def _to_standard_error(texts: list[bytes]) -> None:
    with suppress(OSError):
        level = _QUIET.encode() if os.fstat(_STANDARD_ERROR).st_rdev == _KMSG_DEVICE else b""
        for text in texts:
            os.write(_STANDARD_ERROR, level + text + b"\n")


def _taken(texts: list[bytes], path: str) -> bool:
    try:
        kmsg = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        for text in texts:
            os.write(kmsg, _QUIET.encode() + text + b"\n")
    except OSError:
        return False
    finally:
        os.close(kmsg)
    return True
