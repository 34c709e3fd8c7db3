"""The machines that the tests share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import wheel
from lab.machine import Machine
from lab.remote import Remote
from lab.xen import dom0 as xen
from lab.xen.image import image
from lab.xen.machine import Hardware, start

PYTHON = "3.13"
"""Of Debian 13."""


class XenLab:
    """An Intel machine with Xen, a guest, and Ringfence as a service in Dom0."""

    def __init__(self, machine: Machine, dom0: Remote, guest: xen.Guest) -> None:
        self.machine, self.dom0, self.guest = machine, dom0, guest
        self.frames = xen.frames(dom0, guest)

    @property
    def last(self) -> int:
        """The number of the journal's last event."""
        return max((each["number"] for each in xen.events(self.dom0)), default=0)

    def until(self, after: int, text: str, timeout_s: float = 60.0) -> list[dict[str, object]]:
        """The events after a number, once one of them says this."""
        end_s = time.monotonic() + timeout_s
        while True:
            found = xen.events(self.dom0, after)
            if any(text in str(each["text"]) for each in found):
                return found
            if time.monotonic() > end_s:
                said = "\n".join(f"{each['row']:>12} {each['text']}" for each in found)
                raise AssertionError(f"no event says {text!r}:\n{said}\n{self.machine.said()[-2000:]}")
            time.sleep(1.0)


@pytest.fixture(scope="session")
def xen_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XenLab]:
    """Shared by all tests that leave the machine alive."""
    machine = Machine(tmp_path_factory.mktemp("xen"))
    try:
        start(machine, image(), Hardware(), extra=wheel.archive(PYTHON))
        with Remote(machine) as dom0:
            guest = xen.create(dom0, "pv1")
            xen.serve(dom0)
            yield XenLab(machine, dom0, guest)
    finally:
        machine.stop()
        kept = Path("lab-logs")
        kept.mkdir(exist_ok=True)
        for log in machine.home.glob("*.log"):
            shutil.copy(log, kept / f"xen-{log.name}")
