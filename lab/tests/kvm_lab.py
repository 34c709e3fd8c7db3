"""A KVM host with Ringfence as a service, as a test has it."""

from __future__ import annotations

from lab.kvm import host as kvm
from lab.kvm.machine import UP_S
from lab.kvm.warm import CONFIG, GUEST, POLICY
from lab.machine import Machine
from lab.remote import Remote
from lab.service import Service


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
