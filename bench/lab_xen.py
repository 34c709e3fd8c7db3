"""On real Xen in the lab: from an error to the journal and to the first step, and what the daemon costs Dom0.

``python -m bench.lab_xen``; it needs what ``python3 dev.py lab`` needs. All is under software emulation, some twenty
times slower than the processor beneath it: what counts is what stands beside what.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from lab.machine import Machine
from lab.remote import Remote
from lab.tests.conftest import INTEL, PHYSICAL_PAGE, SRAO, SRAO_MCG
from lab.xen import dom0 as xen
from lab.xen.image import image
from lab.xen.machine import thaw
from lab.xen.warm import Warm, booted, serving

ERRORS: Final = 5
IDLE_S: Final = 60.0
SETTLED_S: Final = 15.0
"""After a thaw, until Dom0 has done what it does at once."""
TICKS_PER_S: Final = 100

# When the event channel fired is told by nobody: the time begins with the injection, by the machine's own clock. The
# agent reads /proc/uptime without starting a process; its distance from the wall clock is measured once.
_OFFSET: Final = "python3 -c 'import time; print(time.time() - float(open(\"/proc/uptime\").read().split()[0]))'"


def _now_ms(dom0: Remote, offset_s: float) -> float:
    return (float(dom0.read("/proc/uptime").split()[0]) + offset_s) * 1000


def _errors(machine: Machine, dom0: Remote, warm: Warm) -> None:
    journaled, stepped = [], []
    offset_s = float(dom0.must(_OFFSET))
    for at in range(ERRORS):
        last = max(each["number"] for each in xen.events(dom0))
        began_ms = _now_ms(dom0, offset_s)
        began_s = time.monotonic()
        machine.machine_check(0, 5, SRAO, SRAO_MCG, warm.pages.free[at] << 12, PHYSICAL_PAGE, broadcast=True)
        asked_ms = (time.monotonic() - began_s) * 1000
        while not any(each["kind"] == "Closed" for each in xen.events(dom0, last)):
            time.sleep(0.2)
        found = xen.events(dom0, last)
        received = next(each["wall_ms"] for each in found if each["kind"] == "Received")
        carried = next(each["wall_ms"] for each in found if each["kind"] == "Carried")
        journaled.append(received - began_ms)
        stepped.append(carried - received)
        print(f"error {at}: {received - began_ms:.0f} ms to the journal ({asked_ms:.0f} ms of them QEMU's monitor)")
    print(f"error to journaled event: median {median(journaled):.0f} ms of {ERRORS}")
    print(f"journaled event to the first step carried out: median {median(stepped):.0f} ms")


def _cost(dom0: Remote) -> None:
    def ticks() -> int:
        fields = dom0.must(f"cat /proc/$(cat {xen.PID})/stat").rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(SETTLED_S)
    before, began_s = ticks(), time.monotonic()
    time.sleep(IDLE_S)
    share = (ticks() - before) / TICKS_PER_S / (time.monotonic() - began_s)
    print(f"idle: {share:.2%} of one emulated processor")
    print(dom0.must(f"grep -E 'VmRSS|VmHWM' /proc/$(cat {xen.PID})/status"), end="")
    print(dom0.must(f"grep -E '^(Rss|Pss|Private_Dirty):' /proc/$(cat {xen.PID})/smaps_rollup"), end="")


def main() -> None:
    """Print them."""
    with tempfile.TemporaryDirectory() as place:
        first, copy = Machine(Path(place, "first")), Machine(Path(place, "copy"))
        try:
            warm = serving(first, booted(image(), INTEL))
            thaw(copy, warm.frozen)
            with Remote(copy) as dom0:
                _cost(dom0)
                _errors(copy, dom0, warm)
        finally:
            first.stop()
            copy.stop()


if __name__ == "__main__":
    main()
