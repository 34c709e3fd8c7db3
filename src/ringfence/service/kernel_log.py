"""The last place to write to when the disk is full: the kernel's log, which needs no disk and outlives this process."""

from __future__ import annotations

import os
import sys
from typing import Final

KMSG: Final = "/dev/kmsg"
MOST_BYTES: Final = 900
"""Of one line: the kernel cuts what is longer than its own bound (LOG_LINE_MAX, 1,024 less its prefix; Linux
kernel/printk/printk.c)."""
_CRITICAL: Final = "<2>"


def to_kernel_log(lines: tuple[str, ...], path: str = KMSG) -> bool:
    """Write lines to the kernel's log, each cut to what it takes; to standard error if that cannot be written to.

    Returns whether the kernel took them. Never raises: whoever comes here has nowhere else to go.
    """
    texts = [f"ringfence: {line}".encode()[:MOST_BYTES] for line in lines]
    try:
        kmsg = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        sys.stderr.buffer.write(b"".join(text + b"\n" for text in texts))
        return False
    try:
        for text in texts:
            os.write(kmsg, _CRITICAL.encode() + text + b"\n")
    except OSError:
        sys.stderr.buffer.write(b"".join(text + b"\n" for text in texts))
        return False
    finally:
        os.close(kmsg)
    return True
