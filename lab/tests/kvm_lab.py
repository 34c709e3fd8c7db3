"""The KVM hosts that the tests share: one is booted, with the service up; every test goes on from there in a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kvm import host as kvm
from lab.kvm.image import image
from lab.kvm.machine import UP_S, Frozen, thaw
from lab.kvm.warm import CONFIG, GUEST, POLICY, booted, serving
from lab.machine import Machine
from lab.remote import Remote
from lab.service import Service
from lab.tests.conftest import _failed, logs_kept


class KvmLab:
    """A KVM host with guests, and Ringfence as a service."""

    def __init__(self, machine: Machine, host: Remote) -> None:
        self.machine, self.host = machine, host
        self.service = Service(machine, host, "kvm")

    def page(self, index: int, name: str = GUEST, of: str = "pages") -> tuple[int, int]:
        """A page of a guest: its guest-physical address, and its frame on the host."""
        gpa = kvm.pages(self.host, name, of)[index]
        return gpa, kvm.frame(self.host, name, gpa)

    def cut_off(self) -> None:
        """Reset it at once, nothing synced (Documentation/admin-guide/sysrq.rst), until the service is up again."""
        at = self.machine.length("com2")
        self.host.forget("echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger")
        self.machine.until("^ready", UP_S, "com2", after=at)
        self.service.start(config=CONFIG, policy=POLICY)

    def state(self, name: str, uri: str = kvm.URI) -> str:
        """What libvirt says of a guest; empty if it knows none of that name."""
        return self.host.run(["virsh", "-c", uri, "domstate", name]).out.strip()


@pytest.fixture(scope="session")
def warm_kvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frozen]:
    """Debian's KVM host, three guests, two libvirtds, the service."""
    machine = Machine(tmp_path_factory.mktemp("kvm"))
    with logs_kept(machine, "kvm", lambda: False):
        yield serving(machine, booted(image()))


@pytest.fixture
def kvm_lab(warm_kvm: Frozen, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KvmLab]:
    """A fresh copy of the KVM host: poison stays in a host until it is switched off."""
    machine = Machine(tmp_path)
    with logs_kept(machine, request.node.name, lambda: request.node.stash.get(_failed, False)):
        thaw(machine, warm_kvm)
        with Remote(machine) as host:
            kvm.set_clock(host)
            yield KvmLab(machine, host)
