"""The guests where libvirt does not answer: they are shown as they were, as far as their QEMUs show."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm import guests as module
from ringfence.hypervisor.kvm.guests import Guest, Guests, Sight
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess
from ringfence.world.domain import DomainState

UUID = "11111111-2222-3333-4444-555555555555"


def _qemu(proc: Path, pid: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "stat").write_text(f"{pid} (qemu) S " + " ".join(str(at) for at in range(4, 30)))
    (proc / str(pid) / "cmdline").write_bytes(
        f"qemu-system-x86_64\0-name\0guest=web\0-uuid\0{UUID}\0-chardev\0socket,id=charmonitor,fd=3\0".encode()
    )


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guests:
    def refuses(_uri: str) -> object:
        raise HypervisorError("no libvirt", advice="")

    monkeypatch.setattr(module, "Connection", refuses)
    return Guests("qemu:///system", proc=tmp_path)


def test_a_guest_that_was_never_seen_is_known_by_its_qemu(guests: Guests, tmp_path: Path) -> None:
    _qemu(tmp_path, 20)
    (guest,) = guests.look().guests
    assert (guest.key, guest.name, guest.state, guest.by_libvirt) == (UUID, "web", DomainState.RUNNING, True)
    assert "no libvirt" in guests.sight.problem


def test_one_that_was_seen_is_as_it_was_until_its_qemu_ends(guests: Guests, tmp_path: Path) -> None:
    _qemu(tmp_path, 20)
    process = QemuProcess(pid=20, began=22, uuid=UUID, name="web", by_libvirt=True)
    known = Guest(key=UUID, name="web", uuid=UUID, vcpus=4, memory_pages=512, state=DomainState.PAUSED, process=process)
    guests.sight = Sight(guests=(known,))
    assert guests.look().guests == (known,)
    (tmp_path / "20/cmdline").unlink()
    (gone,) = guests.look().guests
    assert (gone.state, gone.process, gone.memory_pages) == (DomainState.SHUT_DOWN, None, 512)
    assert guests.ended == {20: UUID}


def test_what_changes_is_told_once(guests: Guests, tmp_path: Path) -> None:
    told: list[int] = []
    guests.changed = lambda: told.append(1)
    _qemu(tmp_path, 20)
    for _ in range(3):
        guests.look()
    assert told == [1]
