"""Whose a frame is, where the way to the answer is not straight: shared pages, huge ones, numbers used anew, faults."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringfence.hypervisor.kvm.guest_memory import Ask
from ringfence.hypervisor.kvm.guests import Guest
from ringfence.hypervisor.kvm.kernel_pages import PageFlag
from ringfence.hypervisor.kvm.kernel_words import Story
from ringfence.hypervisor.kvm.owners import Owners
from ringfence.hypervisor.kvm.pagemap import Pagemaps
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess
from tests.hypervisor.kvm.files import GUEST_AT, HostFiles, poisoned, present

FRAME = 0x12345
FILE = PageFlag.LRU | PageFlag.MMAP
ANON = FILE | PageFlag.ANON


def _guest(key: str, pid: int) -> Guest:
    return Guest(key=key, name=key, process=QemuProcess(pid=pid, began=1))


WEB, DB = _guest("web", 7), _guest("db", 8)


@contextmanager
def _looking(owners: Owners) -> Iterator[None]:
    owners.start()
    try:
        yield
    finally:
        owners.close()


def _owners(
    host: HostFiles,
    *guests: Guest,
    told: tuple[int, ...] = (),
    told_s: float | None = None,
    ask: Callable[[Guest], Ask | None] = lambda _: None,
) -> Owners:
    for guest in guests:
        assert guest.process is not None
        (host.root / f"proc/{guest.process.pid}/task/{guest.process.pid * 100}").mkdir(parents=True)
    story = Story(page="dirty LRU page", result="Recovered", signalled=told, qemus=told, signalled_s=told_s)
    proc = host.root / "proc"
    return Owners(lambda: guests, lambda _: story, ask, host.pages(), Pagemaps(proc), proc)


@pytest.mark.parametrize("flags", [PageFlag.KSM | ANON, FILE])
def test_all_guests_that_share_a_page_are_named(tmp_path: Path, flags: PageFlag) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {1: present(FRAME)})
    host.process(8, {2: present(FRAME)})
    host.flag(FRAME, flags)
    host.count(FRAME, 2)
    assert {each.key for each in _owners(host, WEB, DB).look(FRAME).holders} == {"web", "db"}


def test_all_guests_that_shared_a_page_are_named_when_the_kernel_has_taken_it_away(tmp_path: Path) -> None:
    # By then its flags are gone, and so is the count of those that map it.
    host = HostFiles(tmp_path)
    host.process(7, {1: poisoned(FRAME)})
    host.process(8, {2: poisoned(FRAME)})
    host.flag(FRAME, PageFlag.HWPOISON)
    host.count(FRAME, 0)
    for told in ((), (7,), (7, 8)):
        found = _owners(HostFiles(tmp_path / str(len(told))), told=told)
        found.guests, found.pages, found.maps = (lambda: (WEB, DB)), host.pages(), Pagemaps(tmp_path / "proc")
        if told != (7,):
            assert {each.key for each in found.look(FRAME).holders} == {"web", "db"}
        else:  # the kernel has signalled one: the others did not have it
            assert {each.key for each in found.look(FRAME).holders} == {"web"}


def test_a_huge_page_that_is_in_no_page_map_any_more_is_the_guest_s_that_the_kernel_has_signalled(
    tmp_path: Path,
) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {1: present(FRAME + 9)})
    host.process(8, {2: 0})
    host.flag(FRAME, PageFlag.HWPOISON | PageFlag.HUGE | PageFlag.COMPOUND_HEAD)
    (holder,) = _owners(host, WEB, DB, told=(800,)).look(FRAME).holders
    assert (holder.key, holder.guest_address, holder.unmapped) == ("db", None, True)


def test_a_qemu_that_has_ended_by_it_is_its_guest_s_and_one_that_nobody_knows_is_not_nobody(tmp_path: Path) -> None:
    """The kernel's word that it has signalled a QEMU says by itself that a guest has lost something."""
    host = HostFiles(tmp_path)
    host.process(8, {2: 0})
    host.flag(FRAME, PageFlag.HWPOISON)
    owners = _owners(host, DB, told=(777,))
    found = owners.look(FRAME)
    assert (found.holders, found.complete) == ((), False)
    owners.ended = {777: "web"}.get  # type: ignore[assignment] # None stands for no guest as well as "" does
    (holder,) = owners.look(FRAME).holders
    assert (holder.key, holder.pid, holder.unmapped) == ("web", 777, True)


def test_a_process_of_the_host_that_has_the_number_of_a_qemu_that_is_gone_is_the_host_s(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.flag(FRAME, PageFlag.HWPOISON)
    owners = _owners(host)
    owners.story = lambda _: Story(page="dirty LRU page", result="Recovered", signalled=(777,))  # "python3:777"
    owners.ended = lambda _: "web"
    found = owners.look(FRAME)
    assert (found.holders, found.complete) == ((), True)


@pytest.mark.parametrize(("began_ticks", "keys"), [(100, ["db"]), (100_000, [])])
def test_a_process_that_began_after_the_signal_is_not_the_one_that_got_it(
    tmp_path: Path, began_ticks: int, keys: list[str]
) -> None:
    host = HostFiles(tmp_path)
    host.process(8, {2: 0})
    (tmp_path / "proc/8/stat").write_text(f"8 (qemu) S {' '.join(['0'] * 18)} {began_ticks} 0")
    host.flag(FRAME, PageFlag.HWPOISON)
    found = _owners(host, DB, told=(800,), told_s=5.0).look(FRAME)
    assert [each.key for each in found.holders] == keys and found.complete is bool(keys)


def test_that_nobody_has_a_good_page_is_not_taken_for_granted_when_it_fails(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {1: 0})
    host.flag(FRAME, ANON)
    owners = _owners(host, WEB)
    with _looking(owners):
        assert owners.of(FRAME, urgent=True).holders == ()
        host.process(7, {1: present(FRAME)})
        assert owners.of(FRAME, urgent=False).holders == ()
        assert [each.key for each in owners.of(FRAME, urgent=True).holders] == ["web"]


def test_a_number_that_is_another_process_s_by_now_is_not_believed(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {1: present(FRAME)})
    host.flag(FRAME, ANON)
    owners = _owners(host, WEB)
    with _looking(owners):
        assert [each.key for each in owners.of(FRAME, urgent=True).holders] == ["web"]
        owners.guests = lambda: (_guest("other", 7),)  # web has ended, and its number and its page are other's
        assert [each.key for each in owners.of(FRAME, urgent=True).holders] == ["other"]


@pytest.mark.parametrize(("entry", "flags"), [(present(FRAME), ANON), (poisoned(FRAME), PageFlag.HWPOISON)])
def test_nobody_is_no_answer_while_a_qemu_of_no_known_guest_has_the_page(
    tmp_path: Path, entry: int, flags: PageFlag
) -> None:
    """After a start the backlog is not decided about as if there were no guests."""
    host = HostFiles(tmp_path)
    host.process(7, {1: entry})
    host.flag(FRAME, flags)
    home = host.root / "proc/7"
    (home / "cmdline").write_bytes(b"qemu-system-x86_64\0-name\0web\0")
    (home / "stat").write_text("7 (qemu) S " + " ".join(str(at) for at in range(4, 30)))
    owners = _owners(host)
    found = owners.look(FRAME)
    assert (found.holders, found.complete) == ((), False)
    (home / "task/700").mkdir(parents=True)
    owners.guests = lambda: (WEB,)
    assert [each.key for each in owners.look(FRAME).holders] == ["web"]
    owners.guests = tuple
    host.process(7, {1: present(FRAME + 1)})
    assert owners.look(FRAME).complete


def test_a_look_that_goes_wrong_is_said_and_the_next_one_is_taken(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {1: present(FRAME)})
    host.flag(FRAME, ANON)
    owners = _owners(host, WEB)

    def fails() -> tuple[Guest, ...]:
        raise RuntimeError("a fault")

    owners.guests = fails
    with _looking(owners):
        answer = owners.of(FRAME, urgent=True)
        assert not answer.complete and "a fault" in owners.fault
        owners.guests = lambda: (WEB,)
        assert [each.key for each in owners.of(FRAME, urgent=True).holders] == ["web"]
        assert not owners.fault


def test_a_number_that_qemu_denies_is_not_told(tmp_path: Path) -> None:
    """Two blocks of one name: the second is taken for a part of the first, and only QEMU knows better (L7)."""
    host = HostFiles(tmp_path)
    host.process(7, {1: present(FRAME)})
    host.flag(FRAME, ANON)
    said = {
        "info mtree -f": 'FlatView #0\n AS "memory", root: system\n'
        "  0000000000000000-0000000000000fff (prio 0, ram): vga\n"
        "  0000000000010000-0000000000010fff (prio 0, ram): vga @0000000000001000\n",
        "gpa2hva 0x0": f"Host virtual address for 0x0 (vga) is {GUEST_AT:#x}",
        "gpa2hva 0x10000": f"Host virtual address for 0x10000 (vga) is {GUEST_AT + (9 << 12):#x}",
    }
    (holder,) = _owners(host, WEB, ask=lambda _: lambda command: said.get(command, "")).look(FRAME).holders
    assert (holder.key, holder.guest_address, holder.own_memory) == ("web", None, False)


def test_whose_a_page_is_is_told_before_qemu_has_said_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy host's libvirt takes seconds for it; a page that has none then is asked for again."""
    host = HostFiles(tmp_path)
    host.process(7, {1: present(FRAME)})
    host.flag(FRAME, ANON)
    said = {
        "info mtree -f": 'FlatView #0\n AS "memory", root: system\n'
        "  0000000000000000-000000000000ffff (prio 0, ram): pc.ram\n",
        "gpa2hva 0x0": f"Host virtual address for 0x0 (pc.ram) is {GUEST_AT:#x}",
        "gpa2hva 0x1000": f"Host virtual address for 0x1000 (pc.ram) is {GUEST_AT + 0x1000:#x}",
    }
    says = threading.Event()

    def ask(command: str) -> str:
        assert says.wait(30)
        return said.get(command, "")

    owners = _owners(host, WEB, ask=lambda _: ask)
    with _looking(owners):
        monkeypatch.setattr("ringfence.hypervisor.kvm.owners.NUMBER_S", 0.0)
        (holder,) = owners.of(FRAME, urgent=True).holders
        assert (holder.key, holder.guest_address) == ("web", None)
        assert not owners.look(FRAME + 1).holders  # nobody else waits for it
        says.set()
        monkeypatch.setattr("ringfence.hypervisor.kvm.owners.NUMBER_S", 30.0)
        (holder,) = owners.of(FRAME, urgent=True).holders
        assert (holder.key, holder.guest_address) == ("web", 0x1000)


def test_the_group_of_a_process_may_be_called_anything(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {1: present(FRAME)})
    host.flag(FRAME, ANON)
    (tmp_path / "proc/7/cgroup").write_bytes(b"0::/\xff\xfe\n")
    (tmp_path / "proc/kpagecgroup").write_bytes(os.urandom(8) * (FRAME + 1))
    assert [each.key for each in _owners(host, WEB).look(FRAME).holders] == ["web"]
