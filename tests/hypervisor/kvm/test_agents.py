"""Where a guest's agent is heard: never where another guest's is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ringfence.hypervisor.kvm.agents import Agents
from ringfence.hypervisor.kvm.domain_xml import Details
from ringfence.hypervisor.kvm.guests import Guest
from ringfence.hypervisor.kvm.qemu_processes import QemuProcess
from ringfence.world.identities import DomainId

WEB = DomainId(1)


def _is_called(guest: Guest, listening: socket.socket) -> bool:
    """Whether Ringfence comes to this socket for the agent of a guest."""
    agents = Agents()
    agents.turn([(WEB, guest)], 0)
    listening.settimeout(0)
    try:
        made, _ = listening.accept()
    except BlockingIOError:
        return False
    finally:
        agents.turn([], 0)
    with made:
        return bool(made.recv(64))  # who is let go again at once says nothing


@pytest.mark.parametrize(
    ("by_libvirt", "ours", "told", "called"),
    [
        (True, True, "xml", True),
        (True, True, "command line", False),  # a QEMU that was taken over writes there what it likes
        (False, True, "command line", True),
        (False, False, "command line", False),  # its command line names a socket of another process
    ],
)
def test_the_way_to_an_agent_is_libvirt_s_word_or_the_very_qemu_s(
    tmp_path: Path, by_libvirt: bool, ours: bool, told: str, called: bool
) -> None:
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        process = QemuProcess(
            pid=os.getpid() if ours else 1, began=1, agent_socket=path if told == "command line" else ""
        )
        details = Details(agent_socket=path if told == "xml" else "")
        guest = Guest(key="web", name="web", process=process, by_libvirt=by_libvirt, details=details)
        assert _is_called(guest, listening) is called
