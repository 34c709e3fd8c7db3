"""QMP against a real socket, and what goes wrong there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.hypervisor.kvm import qmp as module
from ringfence.hypervisor.kvm.qmp import LINE_BYTES, Qmp, QmpError, memory_failure
from ringfence.hypervisor.kvm.qmp_operations import QmpOperations
from ringfence.world.steps import Status
from tests.hypervisor.kvm.qemu import Qemu


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    found = Qemu(tmp_path / "q.sock", name="web", uuid="11111111-2222-3333-4444-555555555555")
    yield found
    found.close()


def test_what_a_guest_is_is_asked_of_its_qemu(qemu: Qemu) -> None:
    talk = Qmp(qemu.path, lambda *_: None)
    assert (talk.name, talk.uuid, talk.status) == ("web", "11111111-2222-3333-4444-555555555555", "running")
    assert (talk.vcpus, talk.memory_bytes) == (2, 64 << 20)
    talk.close()


def test_an_event_is_heard_whenever_it_comes(qemu: Qemu) -> None:
    heard: list[tuple[str, bytes]] = []
    came = threading.Event()

    def hear(name: str, data: bytes) -> None:
        if name == "MEMORY_FAILURE":
            heard.append((name, data))
            came.set()

    talk = Qmp(qemu.path, hear)
    flags = {"recursive": False, "action-required": True}
    qemu.event("MEMORY_FAILURE", flags=flags, recipient="guest", action="inject")
    assert came.wait(30)
    found = memory_failure(heard[0][1])
    assert found is not None and (found.recipient, found.action) == ("guest", "inject") and found.flags.action_required
    talk.close()


def test_a_refusal_has_qemu_s_words(qemu: Qemu) -> None:
    qemu.refuses.add("cont")
    talk = Qmp(qemu.path, lambda *_: None)
    with pytest.raises(QmpError, match="cont is not possible now") as caught:
        talk.execute("cont")
    assert caught.value.refused
    talk.close()


def test_a_qemu_that_ends_ends_the_talk_once(qemu: Qemu) -> None:
    over = threading.Event()
    talk = Qmp(qemu.path, lambda *_: None, over.set)
    qemu.close()
    talk.close()
    assert over.wait(30) and talk.is_over
    with pytest.raises(QmpError):
        talk.execute("query-status")


@pytest.mark.parametrize("said", [b"hello\r\n", b'{"event": "STOP"}\r\n', b"\xff\xfe\r\n", b"x" * (LINE_BYTES + 9)])
def test_what_is_no_greeting_ends_the_talk(tmp_path: Path, said: bytes) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen(1)

    def serve() -> None:
        client, _ = listening.accept()
        with client:
            try:
                client.sendall(said)
                client.recv(1)
            except OSError:
                return  # it hung up before it had heard all

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(QmpError):
        Qmp(tmp_path / "s", lambda *_: None)
    thread.join()
    listening.close()


def test_a_socket_that_another_client_holds_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 0.05)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen(1)
    with pytest.raises(QmpError, match="another client holds this socket"):
        Qmp(tmp_path / "s", lambda *_: None)
    listening.close()


def test_no_socket_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="No such file"):
        Qmp(tmp_path / "none", lambda *_: None)


def test_qemu_s_own_word_on_a_failure_that_is_none_is_not_believed() -> None:
    assert memory_failure(b'{"recipient": 5}') is None and memory_failure(b"") is None


def test_operations_are_verified_by_what_the_guest_then_does(qemu: Qemu) -> None:
    talk = Qmp(qemu.path, lambda *_: None)
    operations = QmpOperations(lambda key: talk if key == "k" else None)
    assert operations.pause("k").status is Status.DONE and qemu.status == "paused"
    assert operations.unpause("k").status is Status.DONE and qemu.status == "running"
    assert operations.pause("other").status is Status.REFUSED
    qemu.refuses.add("stop")
    assert operations.pause("k").status is Status.REFUSED
    assert operations.shut_down("k").status is Status.DONE
    assert operations.destroy("k").status is Status.DONE and "quit" in qemu.said
    talk.close()


@pytest.mark.parametrize("said", [b'{"event": "\xff\xfe"}', b'{"return":' + b"[" * 100_000])
def test_what_is_no_text_at_all_ends_the_talk_and_nothing_else(qemu: Qemu, said: bytes) -> None:
    ended = threading.Event()
    talk = Qmp(qemu.path, lambda *_: None, ended.set)
    qemu.raw(said + b"\r\n")
    assert ended.wait(30) and talk.is_over
    with pytest.raises(QmpError):
        assert talk.name
    assert memory_failure(b'{"recipient": "\xff"}') is None


def test_events_without_end_are_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 0.3)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "q"))
    listening.listen(1)

    def flood() -> None:
        client, _ = listening.accept()
        with client:
            try:
                client.sendall(b'{"QMP": {}}\n')
                while True:
                    client.sendall(b'{"event": "RTC_CHANGE"}\n')
            except OSError:
                return

    flooding = threading.Thread(target=flood)
    flooding.start()
    with pytest.raises(QmpError, match="events without end"):
        Qmp(tmp_path / "q", lambda *_: None)
    flooding.join(30)
    listening.close()
