"""KvmHost as a world that a test can disturb: its files as Linux has them, two QEMUs at real sockets."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from ringfence.hypervisor.boot import Boot
from ringfence.hypervisor.kvm.domain_xml import CHANNEL
from ringfence.hypervisor.kvm.host import KvmHost
from ringfence.hypervisor.kvm.kernel_pages import PageFlag
from ringfence.hypervisor.kvm.parts import Parts, Settings
from ringfence.hypervisor.kvm.processor import Processor
from ringfence.world.identities import DomainId, Frame, GuestFrame
from tests.hypervisor.kvm.files import HostFiles, present
from tests.hypervisor.kvm.qemu import Qemu

FIRST = 0x4000
PAGES = 16


@dataclass(slots=True)
class KvmWorld:
    """A host with two guests. Both of their QEMUs are this very process, by their sockets' word."""

    host: KvmHost
    pv: DomainId
    hvm: DomainId
    agent: socket.socket
    qemus: tuple[Qemu, ...] = field(default=())

    def close(self) -> None:
        """End it."""
        self.agent.close()
        for each in self.qemus:
            each.close()
        self.host.arrivals()
        self.host._agents.turn((), 0)
        self.host.close()

    def frame(self, domain: DomainId, page: GuestFrame) -> Frame:
        """The frame that a guest's page lies in."""
        return Frame(FIRST + page)

    def settle(self, ms: int = 10) -> None:
        """Let what was begun end; the clock is the real one."""
        until_s = time.monotonic() + 30
        while self.host._aside.running and time.monotonic() < until_s:
            time.sleep(0.005)
        time.sleep(min(ms, 20) / 1000)

    def corrected(self, page: int = 3) -> None:
        """Evidence comes by the host's sources, and not by this port: nothing arrives."""

    consumed = corrected


def kvm_world(home: Path) -> KvmWorld:
    """A new one; what is below ``home`` is its host."""
    root, state, agent = home / "root", home / "state", home / "agent"
    state.mkdir()
    files, pid = HostFiles(root), os.getpid()
    pages = files.pages()
    files.process(pid, {page: present(FIRST + page) for page in range(PAGES)})
    for frame in (0, *range(FIRST, FIRST + PAGES)):
        files.flag(frame, PageFlag.LRU | PageFlag.ANON | PageFlag.MMAP)
        files.count(frame, 1)
    (root / "proc/self").symlink_to(str(pid))
    words = ("qemu-system-x86_64", "-chardev", f"socket,id=a,path={agent}", "-device",
             f"virtserialport,chardev=a,name={CHANNEL}")  # fmt: skip
    (root / f"proc/{pid}/cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    (root / f"proc/{pid}/stat").write_text("1 (qemu) S " + " ".join(str(at) for at in range(4, 30)))
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(agent))
    listening.listen(4)
    qemus = [
        Qemu(home / name, name=name, uuid=f"{number}1111111-2222-3333-4444-555555555555")
        for number, name in enumerate(("pv", "hvm"))
    ]
    parts = Parts(Settings(libvirt="", monitors=tuple(each.path for each in qemus)), root)
    parts.pages = parts.owners.pages = pages
    host = KvmHost(Boot(number=1, id="b", base_ms=0), state, parts, Processor("GenuineIntel", frozenset()))
    host.arrivals()  # agents are looked for
    numbers = {each.name: each.id for each in host.situation(None).domains}
    return KvmWorld(host, numbers["pv"], numbers["hvm"], listening, tuple(qemus))
