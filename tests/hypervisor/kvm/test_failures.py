"""What QEMU says of a guest's page, made evidence that is joined with the kernel's."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.diagnosis.severity import is_judgeable
from ringfence.hypervisor.kvm.failures import Failure, Failures, of_line, record
from ringfence.hypervisor.kvm.guests import Guest, Guests, Sight
from ringfence.hypervisor.kvm.kernel_words import KernelWords
from ringfence.hypervisor.kvm.owners import Owners
from ringfence.hypervisor.kvm.pagemap import Pagemaps
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess
from ringfence.record.evidence import ClaimedSeverity as Severity
from ringfence.record.evidence import Format, MemoryReport, Origin, Record, Registers
from ringfence.service.sources.attaching import Attaching, Further, New, Unjudged
from tests.hypervisor.kvm.files import GUEST_AT, HostFiles, poisoned

FRAME, PID = 0x77B9, 812
LINE = (
    f"2026-11-22T10:00:00.000000Z qemu-system-x86_64: Guest MCE Memory Error at QEMU addr {GUEST_AT + 0x3000:#x} and "
    "GUEST addr 0x7003000 of type BUS_MCEERR_AO injected"
)
WEB = Guest(key="u", name="web", uuid="u", process=QemuProcess(pid=PID, began=1, uuid="u", by_libvirt=True))


@pytest.fixture
def failures(tmp_path: Path) -> Failures:
    host = HostFiles(tmp_path)
    host.process(PID, {3: poisoned(FRAME)})
    guests, words, maps = Guests(""), KernelWords(tmp_path / "none"), Pagemaps(tmp_path / "proc")
    guests.sight = Sight(guests=(WEB,))
    owners = Owners(lambda: (WEB,), words.story, lambda _: None, host.pages(), maps, tmp_path / "proc")
    found = Failures(guests, words, owners, maps, tmp_path / "logs")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/web.log").write_text("2026-11-22: starting up libvirt\n")
    found.take()
    return found


def _event(by: str = "libvirt", *, to_guest: bool = True, action: str = "inject") -> Failure:
    return Failure(
        key="u", by=by, to_guest=to_guest, action=action, consumed=False, at_s=time.time(), text="memory failure"
    )


def test_qemu_s_own_line_names_the_frame_by_the_page_map(failures: Failures, tmp_path: Path) -> None:
    with (tmp_path / "logs/web.log").open("a") as log:
        log.write(LINE + "\n" + "half a line")
    (found,) = failures.take()
    assert found.memory is not None
    assert (found.memory.page_frame, found.memory.guest_address) == (FRAME, 0x7003000)
    assert "guest web" in [claim.text for claim in found.claims]
    assert failures.take() == ()


def test_what_qemu_told_its_guest_while_nobody_listened_is_in_its_log(failures: Failures, tmp_path: Path) -> None:
    said_s, log = datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp(), tmp_path / "logs/web.log"
    assert not failures.logged("u", GUEST_AT + 0x3000, said_s)
    log.write_text(LINE.replace("qemu-system-x86_64:", "qemu-system-x86_64: warning:") + "\n")
    assert failures.logged("u", GUEST_AT + 0x3040, said_s)
    assert not failures.logged("u", GUEST_AT + 0x4000, said_s)  # another page
    assert not failures.logged("u", GUEST_AT + 0x3000, said_s + 3600)  # said of what stood there before
    assert not failures.logged("u", 0, said_s) and not failures.logged("other", GUEST_AT + 0x3000, said_s)
    log.write_text("2026-99-99T10:00:00.000000Z " + LINE.partition(" ")[2] + "\n")
    assert not failures.logged("u", GUEST_AT + 0x3000, said_s)


def test_an_event_is_of_the_page_for_which_the_kernel_has_just_signalled_that_qemu(failures: Failures) -> None:
    failures.words.heard(f"Memory failure: {FRAME:#x}: Sending SIGBUS to qemu-system-x86:{PID} due to hardware memory")
    failures.heard(_event())
    (found,) = failures.take()
    assert found.memory is not None and found.memory.page_frame == FRAME
    assert failures.told("u", FRAME, time.time() + 9) and not failures.told("u", FRAME + 1, time.time() + 9)


def test_an_event_of_a_page_that_nobody_names_is_no_error_of_its_own(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringfence.hypervisor.kvm.failures.RESOLVE_S", 0.0)
    failures.heard(_event("QMP"))
    (found,) = failures.take()
    assert found.memory is None and not is_judgeable(found)
    assert isinstance(Attaching().place("guests", found), Unjudged)


def test_the_echo_of_one_s_own_injection_is_not_heard(failures: Failures) -> None:
    failures.expect_echo("u")
    failures.heard(_event("QMP"))
    assert failures.take() == () and not failures.told("u", FRAME, 0)


def test_what_comes_faster_than_it_is_taken_is_counted(failures: Failures) -> None:
    for _ in range(300):
        failures.heard(_event(to_guest=False, action="ignore"))
    assert failures.dropped == 300 - 32 and len(failures.take()) == 32


def test_a_qemu_that_says_so_without_end_displaces_nobody_else_s(failures: Failures) -> None:
    failures.heard(replace(_event(), key="other", frame=FRAME))
    for _ in range(2000):
        failures.heard(_event())
    assert failures.told("other", FRAME, 0)
    assert [each for each in failures.take() if "guest other" in [claim.text for claim in each.claims]]


def test_what_is_no_echo_is_heard_though_a_vmce_was_injected(failures: Failures) -> None:
    failures.expect_echo("u")
    failures.heard(_event("QMP", action="reset"))
    failures.heard(replace(_event("QMP"), consumed=True, frame=FRAME))
    assert len(failures.take()) == 2 and failures.was_consumed("u", 0)


def test_a_log_that_is_rotated_is_read_from_its_new_end(failures: Failures, tmp_path: Path) -> None:
    (tmp_path / "logs/web.log").write_text("")
    assert failures.take() == ()
    (tmp_path / "logs/web.log").write_text(LINE + "\n")
    assert len(failures.take()) == 1


def test_a_line_about_something_else_is_none(tmp_path: Path) -> None:
    assert of_line("char device redirected to /dev/pts/1 (label charserial0)", "u", tmp_path) is None


@pytest.mark.parametrize(("ago_s", "believed"), [(20.0, True), (0.0, True), (3600.0, False), (-3600.0, False)])
def test_a_line_is_of_when_qemu_said_it_however_late_it_is_read(tmp_path: Path, ago_s: float, believed: bool) -> None:
    began_s = time.time()
    said = datetime.fromtimestamp(began_s - ago_s, UTC)
    found = of_line(f"{said:%Y-%m-%dT%H:%M:%S.%f}Z {LINE.partition(' ')[2]}", "u", tmp_path)
    assert found is not None
    assert abs(found.at_s - said.timestamp()) < 0.001 if believed else began_s <= found.at_s <= time.time()


# --- one error --------------------------------------------------------------------------------------------------------


def test_bank_kernel_libvirt_and_qemu_tell_of_one_error(failures: Failures) -> None:
    now_s = time.time()
    bank = Record(
        origin=Origin("trace:mce:mce_record"), format=Format.STRUCT_MCE, raw=b"", bank=3, cpu=0, time=now_s,
        vendor=Vendor.AMD, cpuid=0x800F12,
        registers=Registers(status=0x9C00180000010800, addr=FRAME << 12, misc=0x8C),
    )  # fmt: skip
    page = Record(
        origin=Origin("trace:memory_failure_event"), format=Format.MEMORY_FAILURE, raw=b"", time=now_s + 0.1,
        memory=MemoryReport(
            severity=Severity.RECOVERABLE, page_frame=FRAME, physical_address=FRAME << 12, grain_bytes=4096
        ),
    )  # fmt: skip
    failures.words.heard(f"Memory failure: {FRAME:#x}: Sending SIGBUS to qemu-system-x86:{PID} due to hardware memory")
    failures.heard(_event())
    log = of_line(LINE, "u", Path("web.log"))
    assert log is not None
    failures.heard(log)
    attaching = Attaching()
    first = attaching.place("tracefs", bank)
    assert isinstance(first, New)
    further = [attaching.place("tracefs", page), *(attaching.place("guests", each) for each in failures.take())]
    assert [each.of if isinstance(each, Further) else None for each in further] == [first.number] * 3


def test_the_record_says_who_said_it_and_what_was_done() -> None:
    found = record(_event(action="fatal"), "web")
    assert found.origin.file == "libvirt" and "QEMU fatal" in [claim.text for claim in found.claims]
