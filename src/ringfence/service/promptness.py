"""What keeps an uncorrected error from waiting for the interpreter itself: settings of CPython, made once at the start.

Measured with bench/storm.py: with the defaults, the writer waits some 5 ms for the interpreter's lock at each of four
calls of SQLite a transaction while another thread reads a storm, and a collection of garbage takes up to 100 ms.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH_S: Final = 0.0001
"""After so long a thread that computes lets another one go on that wants to (CPython: 5 ms). SQLite lets go of the lock
at each step of a statement, and must have it again after it."""
COLLECT_AFTER: Final = (20_000, 20, 100)
"""New objects before the youngest are looked at, and how often that is before older ones are (CPython: 700, 10, 10).
The service keeps tens of thousands of values alive that hold no cycles."""


def prompt() -> None:
    """Make the settings. What there is by now is left out of later collections: it lives as long as the process."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
