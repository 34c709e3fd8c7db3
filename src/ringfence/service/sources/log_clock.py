"""What the stamps of the kernel's log are in wall time.

They are of the kernel's local clock (kernel/printk/printk.c, local_clock), which nobody corrects, while CLOCK_MONOTONIC
follows NTP: an oscillator that is wrong by 20 parts in a million makes them differ by 1.7 s a day. After a few days the
log's word on an error would be of another time than its trace event, and an error of its own. The kernel tells both
clocks of one moment in debugfs (kernel/sched/debug.c, sched_debug_header); where that is not to be read the log's clock
is taken for CLOCK_MONOTONIC.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CLOCKS: Final = Path("/sys/kernel/debug/sched/debug")
HEAD_BYTES: Final = 1024
"""The clocks stand in its first lines; what follows is as long as the host has CPUs."""
FRESH_S: Final = 10.0
"""So long the difference is not asked for again: a storm has thousands of lines in it."""
_CLOCK: Final = re.compile(rb"^(ktime|cpu_clk)\s*: (\d{1,15}\.\d{6})$", re.MULTILINE)


@dataclass(slots=True)
class LogClock:
    """The log's clock. ``path`` is where the kernel tells its clocks."""

    path: Path = CLOCKS
    _behind_s: float = 0.0
    _asked_s: float | None = None

    def __call__(self) -> float:
        """Seconds since 1970 at which the log's clock was zero, as wall clock and log's clock go now."""
        now_s = time.monotonic()
        if self._asked_s is None or now_s - self._asked_s >= FRESH_S:
            self._asked_s, self._behind_s = now_s, behind_s(self.path)
        return time.time() - now_s + self._behind_s


def behind_s(path: Path = CLOCKS) -> float:
    """By how much the log's clock is behind CLOCK_MONOTONIC (negative: ahead); 0 where the kernel does not tell."""
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return 0.0
    clocks = {name: float(value) / 1000 for name, value in _CLOCK.findall(head)}
    return clocks[b"ktime"] - clocks[b"cpu_clk"] if len(clocks) == 2 else 0.0
