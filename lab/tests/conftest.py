"""The machines that the tests share, and the table of what each test took."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it says nothing of its types

from lab import wheel
from lab.kvm import host as kvm
from lab.kvm import image as kvm_image
from lab.kvm import machine as kvm_machine
from lab.kvm import warm as kvm_warm
from lab.machine import Machine
from lab.remote import Remote
from lab.tests.kvm_lab import KvmLab
from lab.xen import dom0 as xen
from lab.xen import guests
from lab.xen.image import BOOKWORM, TRIXIE, Choice, image
from lab.xen.machine import Hardware, thaw
from lab.xen.warm import Wanted, Warm, booted, serving

LOGS: Final = Path("lab-logs")
UNTIL_S: Final = 90.0
"""Until Ringfence has told something: Xen looks for corrected errors every 2 to 16 s."""
ROUND_S: Final = 0.3
CE: Final = 0x9C00004000010090
"""Corrected: a memory read, channel 0; with an address."""
SRAO: Final = 0xBD000000000000C0
SRAO_MCG: Final = 0x5
"""Action optional, by the memory scrubber; MCG_STATUS has MCIP and RIPV."""
SRAR: Final = 0xBD80000000000134
SRAR_MCG: Final = 0x7
"""Action required: data that was read; EIPV as well."""
FATAL: Final = 0xBE00000000800400
FATAL_MCG: Final = 0x4
"""The processor's context is corrupt (PCC), and nothing can go on (no RIPV)."""
BANKS: Final = range(1, 10)
"""Of the model. Xen's poll looks into all of them at one time, so that ten errors need not wait for ten polls."""
PHYSICAL_LINE: Final = 0x86
"""MCi_MISC: a physical address, good to 64 bytes (SDM vol. 3B 17.3.2.4)."""
PHYSICAL_PAGE: Final = 0x8C
"""The same, good to a page."""

_failed = pytest.StashKey[bool]()


class ByLab(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """The tests of one lab stay together, one after the other: a processor each, and machines are booted once."""

    def _split_scope(self, nodeid: str) -> str:
        return "kvm" if Path(nodeid.partition("::")[0]).name.startswith("test_kvm") else "xen"


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByLab:
    """Where the tests run on two processors, each has a lab."""
    return ByLab(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test's machine shall know if its consoles are worth being kept."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What each test took, its machine's share apart: the first to use a machine waits until it is up."""
    took: dict[str, dict[str, float]] = {}
    for reports in terminalreporter.stats.values():
        for each in reports:
            if isinstance(each, pytest.TestReport):
                took.setdefault(each.nodeid, {})[each.when] = each.duration
    if not took:
        return
    terminalreporter.section("what each test took, in seconds")
    terminalreporter.write_line(f"{'machine':>8} {'test':>8}")
    for name, parts in took.items():
        machine = parts.get("setup", 0.0) + parts.get("teardown", 0.0)
        terminalreporter.write_line(f"{machine:8.1f} {parts.get('call', 0.0):8.1f}  {name.rpartition('::')[2]}")
    terminalreporter.write_line(f"{sum(sum(parts.values()) for parts in took.values()):8.1f} in all")


@contextmanager
def logs_kept(machine: Machine, name: str, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Switch a machine off at the end; its consoles are left in lab-logs if they are wanted, or it did not come up."""
    wanted = True
    try:
        yield
        wanted = is_wanted()
    finally:
        machine.stop()
        if wanted:
            LOGS.mkdir(exist_ok=True)
            for log in machine.home.glob("*.log"):
                shutil.copy(log, LOGS / f"{name}-{log.name}")
        else:
            shutil.rmtree(machine.home, ignore_errors=True)


class XenLab:
    """A machine with Xen, its guests, and Ringfence as a service in Dom0."""

    def __init__(self, machine: Machine, dom0: Remote, pages: guests.Pages) -> None:
        self.machine, self.dom0, self.pages = machine, dom0, pages

    def guest(self, name: str) -> guests.Guest:
        """A guest that is there."""
        return guests.guest(self.dom0, name)

    def mce(self, bank: int, status: int, address: int, mcg: int = 0, *, cpu: int = 0) -> None:
        """Have an error reported; one with MCIP to all processors, as Intel's are."""
        misc = PHYSICAL_PAGE if mcg else PHYSICAL_LINE
        self.machine.machine_check(cpu, bank, status, mcg, address, misc, broadcast=bool(mcg))

    @property
    def last(self) -> int:
        """The number of the journal's last event."""
        return max((each["number"] for each in xen.events(self.dom0)), default=0)

    def until(self, text: str, after: int = 0, timeout_s: float = UNTIL_S) -> list[dict[str, Any]]:
        """The events after a number, once one of them says this."""
        return self.until_all(lambda found: any(text in each["text"] for each in found), repr(text), after, timeout_s)

    def until_all(
        self, is_it: Callable[[list[dict[str, Any]]], bool], what: str, after: int = 0, timeout_s: float = UNTIL_S
    ) -> list[dict[str, Any]]:
        """The events after a number, once they are so."""
        end_s = time.monotonic() + timeout_s
        while True:
            found = xen.events(self.dom0, after)
            if is_it(found):
                return found
            if time.monotonic() > end_s:
                said = "\n".join(f"{each['kind']:>14} {each['row']:>12} {each['text']}" for each in found)
                raise AssertionError(f"the events are not so: {what}\n{said}\n{self.machine.said()[-2000:]}")
            time.sleep(ROUND_S)


def _warm(wanted: Wanted, choice: Choice, home: Path) -> Iterator[Warm]:
    machine = Machine(home)
    with logs_kept(machine, wanted.name, lambda: False):
        yield serving(machine, booted(image(choice), wanted))


def _copy(warm: Warm, home: Path, request: pytest.FixtureRequest) -> Iterator[XenLab]:
    machine = Machine(home)
    with logs_kept(machine, request.node.name, lambda: request.node.stash.get(_failed, False)):
        thaw(machine, warm.frozen)
        with Remote(machine) as dom0:
            yield XenLab(machine, dom0, warm.pages)


INTEL: Final = Wanted(name="intel", hardware=Hardware(), guests=(("pv1", "pv"), ("pv2", "pv")))
OLD: Final = Wanted(name="old", hardware=Hardware())
AMD: Final = Wanted(name="amd", hardware=Hardware(cpu="amd"), guests=(("pv1", "pv"), ("pvh1", "pvh")))


@pytest.fixture(scope="session")
def warm_intel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Nehalem, Xen 4.20, two PV guests, the service."""
    yield from _warm(INTEL, TRIXIE, tmp_path_factory.mktemp("intel"))


@pytest.fixture(scope="session")
def warm_amd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """EPYC, Xen 4.20, a PV and a PVH guest, the service."""
    yield from _warm(AMD, TRIXIE, tmp_path_factory.mktemp("amd"))


@pytest.fixture
def xen_lab(warm_intel: Warm, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[XenLab]:
    """A fresh copy of the Intel machine."""
    yield from _copy(warm_intel, tmp_path, request)


@pytest.fixture
def amd_lab(warm_amd: Warm, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[XenLab]:
    """A fresh copy of the AMD machine."""
    yield from _copy(warm_amd, tmp_path, request)


@pytest.fixture
def old_lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[XenLab]:
    """Debian 12's Xen 4.17 on Nehalem, with Ringfence installed and no service."""
    made, machine = image(BOOKWORM), Machine(tmp_path)
    warm = booted(made, OLD)
    with logs_kept(machine, request.node.name, lambda: request.node.stash.get(_failed, False)):
        thaw(machine, warm.frozen, extra=wheel.archive(made.choice.python, made.tree))
        with Remote(machine) as dom0:
            xen.install(dom0)
            yield XenLab(machine, dom0, warm.pages)


# --- KVM --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def warm_kvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kvm_machine.Frozen]:
    """Debian's KVM host, three guests, two libvirtds, the service."""
    machine = Machine(tmp_path_factory.mktemp("kvm"))
    with logs_kept(machine, "kvm", lambda: False):
        yield kvm_warm.serving(machine, kvm_warm.booted(kvm_image.image()))


@pytest.fixture
def kvm_lab(warm_kvm: kvm_machine.Frozen, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KvmLab]:
    """A fresh copy of the KVM host: poison stays in a host until it is switched off."""
    machine = Machine(tmp_path)
    with logs_kept(machine, request.node.name, lambda: request.node.stash.get(_failed, False)):
        kvm_machine.thaw(machine, warm_kvm)
        with Remote(machine) as host:
            kvm.set_clock(host)
            yield KvmLab(machine, host)
