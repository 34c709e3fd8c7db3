"""A KVM host behind the port: its files as Linux has them, and a QEMU at a real socket."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from ringfence.action.carry import carry_out
from ringfence.arch.cpuid import Vendor
from ringfence.hypervisor.boot import Boot
from ringfence.hypervisor.kvm import host as module
from ringfence.hypervisor.kvm import named_pages
from ringfence.hypervisor.kvm.aside import Trace
from ringfence.hypervisor.kvm.failures import Failure
from ringfence.hypervisor.kvm.guests import Guests, Sight
from ringfence.hypervisor.kvm.host import KvmHost
from ringfence.hypervisor.kvm.kernel_pages import KernelPages, PageFlag
from ringfence.hypervisor.kvm.owners import NOT_KNOWN, Answer
from ringfence.hypervisor.kvm.parts import Parts, Settings
from ringfence.hypervisor.kvm.processor import Processor
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess, kill, start_of
from ringfence.hypervisor.port import Capability, Ended, Hypervisor
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.world.domain import DomainKind, DomainState
from ringfence.world.frames import FrameUse
from ringfence.world.identities import DOM0, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import Deed
from ringfence.world.steps import (
    DestroyDomain,
    ExchangeFrame,
    InjectVmce,
    IsolateFrame,
    MigrateDomain,
    OfflineFrame,
    OnlineFrame,
    Order,
    PauseDomain,
    RestartDomain,
    SaveDomain,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)
from tests.hypervisor.kvm.files import GUEST_AT, HostFiles, poisoned, present
from tests.hypervisor.kvm.qemu import Qemu

FRAME, GUEST = Frame(0x77B9), DomainId(1)
LRU = PageFlag.LRU | PageFlag.ANON | PageFlag.MMAP
UUID = "11111111-2222-3333-4444-555555555555"
MTREE = f"""FlatView #0
 AS "memory", root: system
  0000000000000000-{(16 << 12) - 1:016x} (prio 0, ram): pc.ram
"""


@dataclass(slots=True)
class World:
    """A host with one guest, whose QEMU is this very process by the socket's word."""

    files: HostFiles
    qemu: Qemu
    parts: Parts
    host: KvmHost
    written: list[tuple[str, int]]
    order: int = 0

    def give(self, step: Step) -> Status:
        """Order a step, as the loop does."""
        self.order += 1
        return carry_out(self.host, Order(StepId(self.order), step)).status

    def ended(self) -> dict[StepId, Status]:
        """What ends next."""
        found: dict[StepId, Status] = {}
        while not found:
            assert select.select([self.host.ready], [], [], 30)[0]
            found = {each.ended.order: each.ended.result.status for each in self.host.arrivals()
                     if isinstance(each, Ended)}  # fmt: skip
        return found

    def says(self, line: str) -> None:
        """The kernel logs a line."""
        with (self.files.root / "dev/kmsg").open("a") as log:
            log.write(f"6,1,1,-;{line}\n")

    def poison(self, action: str = "inject") -> None:
        """What the kernel does with an uncorrected error in the guest's page, and QEMU after it."""
        self.files.process(os.getpid(), {3: poisoned(FRAME)})
        self.files.flag(FRAME, PageFlag.HWPOISON)
        self.says(f"Memory failure: {FRAME:#x}: Sending SIGBUS to qemu:{os.getpid()} due to hardware memory corruption")
        self.says(f"Memory failure: {FRAME:#x}: recovery action for dirty LRU page: Recovered")
        flags = {"recursive": False, "action-required": False}
        self.qemu.event("MEMORY_FAILURE", flags=flags, recipient="guest", action=action)


def _made(root: Path, state: Path, socket: Path, written: list[tuple[str, int]]) -> tuple[Parts, KvmHost]:
    files = HostFiles(root)
    real = files.pages()

    def write(path: Path, text: str) -> None:
        written.append((path.name, int(text, 16) >> 12))
        real.write(path, text)

    parts = Parts(Settings(libvirt="", monitors=(socket,), injects=True), root)
    parts.pages = parts.owners.pages = KernelPages(root, write)
    intel = Processor("GenuineIntel", frozenset())
    return parts, KvmHost(Boot(number=1, id="b", base_ms=0), state, parts, intel)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    root, state, socket = tmp_path / "root", tmp_path / "state", tmp_path / "q"
    state.mkdir()
    files = HostFiles(root)
    home = root / "proc" / str(os.getpid())
    files.process(os.getpid(), {3: present(FRAME)})
    (root / "proc/self").symlink_to(str(os.getpid()))
    (home / "cmdline").write_bytes(b"qemu-system-x86_64\0-name\0web\0")
    (home / "stat").write_text("1 (qemu) S " + " ".join(str(at) for at in range(4, 30)))
    (home / "task" / str(os.getpid())).mkdir(parents=True)
    (root / "dev").mkdir()
    (root / "dev/kmsg").touch()
    files.flag(0, 0)
    files.flag(FRAME, LRU)
    files.count(FRAME, 1)
    qemu = Qemu(socket, name="web", uuid=UUID)
    qemu.human = {"info mtree -f": MTREE, "info registers": "CR4=000006f0"} | {
        f"gpa2hva {page << 12:#x}": f"Host virtual address for {page << 12:#x} (pc.ram) is {GUEST_AT + (page << 12):#x}"
        for page in range(16)
    }
    written: list[tuple[str, int]] = []
    parts, host = _made(root, state, socket, written)
    yield World(files, qemu, parts, host, written)
    host.close()
    qemu.close()


def _record(status: int, ago_s: float = 0.0) -> Record:
    return Record(
        origin=Origin("test"), format=Format.STRUCT_MCE, raw=b"", cpu=0, bank=7, time=time.time() - ago_s,
        vendor=Vendor.INTEL, registers=Registers(status=status, addr=FRAME << 12, misc=0x8C),
    )  # fmt: skip


CORRECTED = 0x9C00_0040_0001_0090
SRAO = 0xBD00_0000_0000_00C0


def test_it_is_a_hypervisor(world: World) -> None:
    host: Hypervisor = world.host
    assert host.name == "KVM" and host.boot == 1
    assert {Capability.PAUSE, Capability.FRAME_OWNER, Capability.EXCHANGE_FRAME, Capability.INJECT_VMCE} <= set(
        host.capabilities
    )
    assert not host.capabilities & (Capability.TREATS | Capability.SAVE | Capability.MIGRATE)


@pytest.mark.parametrize(
    ("versions", "problem", "can"),
    [
        (("10.0.13", "11.3.0"), "", True),
        (("10.0.13", ""), "", False),  # it was never reached
        (("10.0.13", "11.3.0"), "libvirt has not answered within 5 s", False),
    ],
)
def test_who_cannot_reach_libvirt_does_not_claim_to_save_or_move_a_guest(
    world: World, monkeypatch: pytest.MonkeyPatch, versions: tuple[str, str], problem: str, can: bool
) -> None:
    by_libvirt = Capability.SAVE | Capability.RESTORE | Capability.MIGRATE
    settings = Settings(libvirt="qemu:///system", destination="qemu+tls://other/system")
    monkeypatch.setattr(world.host, "_settings", settings)
    with world.parts.guests._looking:
        world.parts.guests.sight = Sight(versions=versions, problem=problem)
        assert world.host.capabilities & by_libvirt == (by_libvirt if can else Capability(0))
        assert bool(world.host.situation(None).platform.disk_pages_per_s) is can


def test_the_guest_is_there_with_a_number_that_stays(world: World) -> None:
    dom0, guest = world.host.situation(None).domains
    assert (dom0.id, dom0.kind) == (DOM0, DomainKind.DOM0)
    assert (guest.id, guest.name, guest.uuid, guest.kind) == (GUEST, "web", UUID, DomainKind.HVM)
    assert (guest.vcpus, guest.memory_pages, guest.state) == (2, 64 << 8, DomainState.RUNNING)


def test_a_corrected_error_names_the_guest_s_page_and_touches_nothing(world: World) -> None:
    seen = world.host.situation(_record(CORRECTED))
    (facts,) = seen.frames
    assert (facts.owner, facts.guest_frame, facts.broken) == (GUEST, GuestFrame(3), False)
    assert seen.already_done == () and world.written == []
    assert seen.domains[1].mca_enabled  # by CR4.MCE, asked with the map


def test_what_kernel_and_qemu_did_about_an_uncorrected_error_is_seen(world: World) -> None:
    # The kernel marks the page a moment after its report is out.
    threading.Timer(0.1, world.poison).start()
    seen = world.host.situation(_record(SRAO))
    (facts,) = seen.frames
    assert (facts.owner, facts.guest_frame, facts.broken, facts.mappings) == (GUEST, GuestFrame(3), True, ())
    assert [each.deed for each in seen.already_done] == [
        Deed.OFFLINED_FRAME, Deed.ISOLATED_FRAME, Deed.INJECTED_VMCE
    ]  # fmt: skip


@pytest.mark.parametrize("ago_s", [0.0, 3600.0])
def test_what_came_while_nobody_listened_is_decided_about_with_the_guests_known(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ago_s: float
) -> None:
    """The guests are first seen while the record waits: their numbers are those of after that look. What kernel and
    QEMU did about the page is a fact however long ago it was: a guest that was told is not restarted.
    """
    guests = world.parts.guests
    sight = guests.sight
    world.poison()
    world.parts.failures.heard(
        Failure(key=UUID, by="QMP", to_guest=True, action="inject", consumed=False, at_s=0, text="", frame=FRAME)
    )
    monkeypatch.setattr(Guests, "first_look", lambda self, _: setattr(self, "sight", sight))
    (tmp_path / "next").mkdir()
    with guests._looking:  # no look ends meanwhile
        guests.sight = Sight()
        host = KvmHost(Boot(number=1, id="b", base_ms=0), tmp_path / "next", world.parts, Processor())
        assert [each.id for each in host.situation(None).domains] == [DOM0]
        seen = host.situation(_record(SRAO, ago_s))
    (facts,) = seen.frames
    assert (facts.owner, facts.guest_frame, facts.broken) == (GUEST, GuestFrame(3), True)
    assert [each.deed for each in seen.already_done] == [
        Deed.OFFLINED_FRAME, Deed.ISOLATED_FRAME, Deed.INJECTED_VMCE
    ]  # fmt: skip


def test_a_guest_is_not_taken_for_one_that_was_not_told_because_the_kernel_s_log_may_not_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.poison(action="")
    monkeypatch.setattr(world.parts.words, "path", world.files.root / "none")
    monkeypatch.setattr(world.parts.words, "_file", None)
    monkeypatch.setattr(named_pages, "TOLD_S", 30.0)
    flags = {"recursive": False, "action-required": False}
    threading.Timer(
        0.2, lambda: world.qemu.event("MEMORY_FAILURE", flags=flags, recipient="guest", action="inject")
    ).start()
    assert Deed.INJECTED_VMCE in [each.deed for each in world.host.situation(_record(SRAO)).already_done]


def test_a_qemu_that_says_that_it_has_not_told_its_guest_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_pages, "TOLD_S", 1e6)
    monkeypatch.setattr(named_pages, "RECORD_S", 1e6)
    world.poison(action="ignore")
    seen = world.host.situation(_record(SRAO))
    assert [each.deed for each in seen.already_done] == [Deed.OFFLINED_FRAME, Deed.ISOLATED_FRAME]


def test_a_guest_whose_qemu_the_kernel_has_ended_is_named_by_who_ran_it_in_an_earlier_life(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "state/domains.json").write_text(
        '{"next":3,"boot":1,"machines":{"' + UUID + '":{"number":1,"process":[4711,9]}}}'
    )
    host = KvmHost(Boot(number=1, id="b", base_ms=0), tmp_path / "state", world.parts, Processor())
    world.files.process(os.getpid(), {3: 0})
    world.files.flag(FRAME, PageFlag.HWPOISON)
    world.says(f"Memory failure: {FRAME:#x}: Sending SIGBUS to qemu-system-x86:4711 due to hardware memory corruption")
    world.says(f"Memory failure: {FRAME:#x}: recovery action for dirty LRU page: Recovered")
    seen = host.situation(_record(SRAO))
    assert seen.frames[0].owner == GUEST
    assert [each.deed for each in seen.already_done] == [Deed.OFFLINED_FRAME, Deed.KILLED_DOMAIN]


def test_a_huge_page_of_which_the_kernel_keeps_the_rest_is_lost_to_its_guest_as_a_whole(world: World) -> None:
    """Linux frees the sound part of an anonymous huge page (mm/memory-failure.c, me_huge_page)."""
    world.files.process(os.getpid(), {3: 0})
    world.files.flag(FRAME, PageFlag.HWPOISON)
    world.says(f"Memory failure: {FRAME:#x}: Sending SIGBUS to qemu:{os.getpid()} due to hardware memory corruption")
    world.says(f"Memory failure: {FRAME:#x}: recovery action for huge page: Recovered")
    world.qemu.event(
        "MEMORY_FAILURE", flags={"recursive": False, "action-required": False}, recipient="guest", action="inject"
    )
    seen = world.host.situation(_record(SRAO))
    (facts,) = seen.frames
    assert (facts.owner, facts.frame, facts.pages) == (GUEST, FRAME & ~511, 512)
    assert Deed.INJECTED_VMCE in {each.deed for each in seen.already_done}


def test_a_free_page_is_nobody_s(world: World) -> None:
    world.files.flag(FRAME, PageFlag.HWPOISON)
    world.says(f"Memory failure: {FRAME:#x}: recovery action for free buddy page: Recovered")
    (facts,) = world.host.situation(_record(SRAO)).frames
    assert facts.use is FrameUse.OFFLINE


def test_a_page_that_is_still_good_is_moved_and_a_lost_one_is_given_up(world: World) -> None:
    world.files.flag(FRAME + 1, LRU)
    world.host.situation(_record(CORRECTED))
    assert world.give(OfflineFrame(FRAME)) is Status.DONE
    assert world.give(ExchangeFrame(GUEST, Frame(FRAME + 1))) is Status.DONE
    assert world.written == [("soft_offline_page", FRAME), ("soft_offline_page", FRAME + 1)]
    world.files.flag(FRAME, PageFlag.NOPAGE)  # nothing for the kernel to mark: nobody waits for it
    world.host.situation(_record(SRAO))
    world.files.flag(FRAME, LRU)
    assert world.give(OfflineFrame(FRAME)) is Status.DONE
    assert world.written[2:] == [("hard_offline_page", FRAME)]
    assert world.give(IsolateFrame(FRAME)) is Status.DONE and len(world.written) == 3
    assert world.give(OnlineFrame(FRAME)) is Status.REFUSED


def test_a_page_that_was_lost_in_an_earlier_life_is_not_read_to_be_moved(world: World) -> None:
    """The kernel has not marked it, so its flags do not say so: the journal does."""
    world.host.heed_lost([FRAME])
    assert world.give(OfflineFrame(FRAME)) is Status.DONE
    assert world.written == [("hard_offline_page", FRAME)]


def test_a_guest_is_paused_and_let_run_and_ended(world: World) -> None:
    assert world.give(PauseDomain(GUEST)) is Status.DONE
    assert world.host.situation(None).domains[1].state is DomainState.PAUSED
    assert world.give(UnpauseDomain(GUEST)) is Status.DONE
    assert world.give(DestroyDomain(GUEST)) is Status.DONE
    assert world.host.situation(None).domain(GUEST) is None


def test_what_takes_long_ends_later_and_is_known_then(world: World) -> None:
    assert world.give(ShutDownDomain(GUEST)) is Status.RUNNING
    assert world.ended() == {StepId(1): Status.DONE}
    assert world.host.probe(Order(StepId(1), ShutDownDomain(GUEST))).status is Status.DONE
    assert world.host.probe(Order(StepId(9), ShutDownDomain(GUEST))).status is Status.UNKNOWN


def test_what_qemu_alone_cannot_do_is_refused_and_nothing_is_sent(world: World) -> None:
    for step in (SaveDomain(GUEST), MigrateDomain(GUEST, "x"), PauseDomain(DOM0), PauseDomain(DomainId(7))):
        assert world.give(step) is Status.REFUSED
    assert not {"stop", "quit", "migrate", "system_reset"} & set(world.qemu.said)


def test_no_vmce_is_injected_unless_the_configuration_lets_it(tmp_path: Path) -> None:
    (tmp_path / "root/dev").mkdir(parents=True)
    (tmp_path / "root/dev/kmsg").touch()
    parts = Parts(Settings(libvirt=""), tmp_path / "root")
    intel = Processor("GenuineIntel", frozenset())
    host = KvmHost(Boot(number=1, id="b", base_ms=0), tmp_path, parts, intel)
    assert Capability.INJECT_VMCE not in host.capabilities
    refused = host.carry_out(Order(StepId(1), InjectVmce(GUEST, GuestFrame(3))))
    host.close()
    assert (refused.status, refused.because) == (
        Status.REFUSED, "on Intel, with vmce and monitor-commands in [kvm], and not otherwise",
    )  # fmt: skip


def test_a_vmce_of_one_s_own_makes_no_evidence(world: World) -> None:
    assert world.give(InjectVmce(GUEST, GuestFrame(3))) is Status.DONE
    flags = {"recursive": False, "action-required": False}
    world.qemu.event("MEMORY_FAILURE", flags=flags, recipient="guest", action="inject")
    assert world.qemu.asked[-1] == "mce -b 0 9 0xbd000000000000c0 0x5 0x3000 0x8c"
    talk = world.parts.guests.monitor(UUID)
    assert talk is not None and talk.status == "running"  # whoever hears this has heard the event before
    assert world.parts.failures.take() == ()


def test_another_life_has_the_same_numbers(world: World, tmp_path: Path) -> None:
    world.host.situation(None)
    host = KvmHost(Boot(number=1, id="b", base_ms=0), tmp_path / "state", world.parts, Processor())
    assert [each.id for each in host.situation(None).domains] == [DOM0, GUEST]
    assert host.situation(None).domains[1].incarnation == 0


def test_a_monitor_that_cannot_be_had_is_said(world: World, tmp_path: Path) -> None:
    assert not world.parts.problems
    world.parts.guests.monitors = (*world.parts.guests.monitors, tmp_path / "none")
    world.parts.guests.look()
    assert ["No such file" in problem for problem in world.parts.problems] == [True]


def test_a_guest_that_hangs_does_not_make_another_one_s_pause_a_failure(world: World) -> None:
    """Or the decision would go on to the next row: the guest that was paused would be killed."""
    guests = world.parts.guests
    assert guests._looking.acquire(timeout=30)  # a look that does not end: some other QEMU answers nothing
    try:
        assert world.give(PauseDomain(GUEST)) is Status.DONE
        assert world.host.situation(None).domains[1].state is DomainState.PAUSED
    finally:
        guests._looking.release()


def test_a_guest_that_nobody_ends_is_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    hangs = threading.Event()

    def kill(process: QemuProcess) -> bool:
        killed.append(process.pid)
        return True

    monkeypatch.setattr(module, "kill", kill)
    monkeypatch.setattr(module, "KILL_S", 0.05)
    monkeypatch.setattr(module, "PROMPT_S", 0.01)
    monkeypatch.setattr(world.host._qmp.__class__, "destroy", lambda *_: hangs.wait())
    assert world.give(DestroyDomain(GUEST)) is Status.RUNNING  # no failure, for which the host would halt
    assert world.ended() == {StepId(1): Status.DONE}
    assert killed == [os.getpid()]
    hangs.set()


def test_a_restart_that_was_not_begun_is_not_called_done(world: World, tmp_path: Path) -> None:
    """Ringfence was killed between its note and the order: the guest runs in its old memory."""
    (guest,) = world.parts.guests.sight.guests
    assert guest.process is not None
    for process, wanted in ((guest.process.identity, Status.UNKNOWN), ((1, 1), Status.RUNNING)):
        trace = Trace(what="restart", key=UUID, process=process)
        (tmp_path / "state/operations/50.json").write_bytes(msgspec.json.encode(trace))
        assert world.host.probe(Order(StepId(50), RestartDomain(GUEST))).status is wanted


def test_a_disk_that_takes_nothing_keeps_nobody_from_deciding(world: World, tmp_path: Path) -> None:
    (tmp_path / "full/domains.making").mkdir(parents=True)
    host = KvmHost(Boot(number=1, id="b", base_ms=0), tmp_path / "full", world.parts, Processor())
    assert [each.id for each in host.situation(_record(SRAO)).domains] == [DOM0, GUEST]
    (tmp_path / "full/domains.making").rmdir()
    host.arrivals()
    assert (tmp_path / "full/domains.json").exists()


def test_the_pages_of_one_record_have_one_time_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def of(_: int, *, urgent: bool, most_s: float) -> Answer:
        assert urgent
        asked.append(most_s)
        return NOT_KNOWN

    monkeypatch.setattr(world.parts, "owners", SimpleNamespace(of=of, mca_enabled=lambda _: False))
    monkeypatch.setattr(named_pages, "RECORD_S", 0.0)
    assert world.host.situation(_record(SRAO)).frames[0].use is FrameUse.UNKNOWN
    assert asked == [0.0]


def test_only_the_process_that_was_meant_is_killed() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        began = start_of(Path("/proc") / str(process.pid))
        assert began is not None
        assert not kill(QemuProcess(pid=process.pid, began=began + 1))
        assert process.poll() is None
        assert kill(QemuProcess(pid=process.pid, began=began))
        assert process.wait(30) == -9
    assert not kill(QemuProcess(pid=process.pid, began=began))


def test_a_page_that_the_kernel_marks_and_uses_on_is_not_called_out_of_use(world: World) -> None:
    """I.2b: its own slab, its page tables. It is given to nobody anew; until it is let go the host is in danger."""
    world.files.flag(FRAME, PageFlag.SLAB | PageFlag.HWPOISON)
    world.says(f"Memory failure: {FRAME:#x}: recovery action for reserved kernel page: Ignored")
    assert world.host.situation(_record(SRAO)).frames[0].use is FrameUse.HYPERVISOR
    assert world.give(OfflineFrame(FRAME)) is Status.PENDING
