"""What a test does on a KVM host: guests with libvirt and without, their pages, a second libvirtd, errors in memory."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Final

from lab.debian import LabError
from lab.machine import Machine, wait
from lab.remote import Remote

KERNEL: Final = "console=ttyS0 rdinit=/init panic=0 quiet mitigations=off tsc=reliable cryptomgr.notests audit=0"
"""Of a guest. Each letter on its console is an exit, and each exit costs much in two emulations: it is quiet."""
GUEST_S: Final = 240.0
"""Until a guest's first process answers: 10 s were seen where nothing else ran."""
LIBVIRTD_S: Final = 60.0
"""Until it answers: it starts QEMU to learn what it can do."""
ASK_S: Final = 30.0

URI: Final = "qemu:///system"
OTHER_URI: Final = "qemu+unix:///system?socket=/run/b/libvirt/libvirt-sock"
"""The second libvirtd on the same host, which guests can be moved to."""
_OTHERS: Final = {
    "/run/libvirt": "/run/b/libvirt",
    "/run/lab": "/run/b/lab",
    "/var/lib/libvirt": "/data/b/lib",
    "/var/log/libvirt": "/data/b/log",
    "/var/cache/libvirt": "/data/b/cache",
    "/etc/libvirt": "/data/b/etc",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a guest is made of. ``huge``: its memory is of 2 MiB pages, which the host must have set aside."""

    memory_mib: int = 192
    huge: bool = False
    more: str = ""
    """More devices, in libvirt's XML."""


def libvirtd(host: Remote) -> None:
    """Start libvirt's daemon, until it answers."""
    host.must("setsid libvirtd -d")
    for _ in wait(LIBVIRTD_S, "libvirtd", lambda: host.run("cat /var/log/libvirt/libvirtd.log").out[-2000:]):
        if host.run(["virsh", "-c", URI, "list"]).code == 0:
            return


def other_libvirtd(host: Remote) -> None:
    """Start a second one, which sees directories of its own in the places of the first one's."""
    mounts = " && ".join(f"mount --bind {mine} {at}" for at, mine in _OTHERS.items())
    daemon = "exec libvirtd -d --pid-file /run/libvirt/libvirtd.pid"
    host.must(
        f"mkdir -p {' '.join(_OTHERS.values())} && cp -a /etc/libvirt/. /data/b/etc/ && cp /etc/lab/b/* /data/b/etc/"
        " && cp -a /var/cache/libvirt/. /data/b/cache/"
    )
    host.must(["unshare", "-m", "--propagation", "private", "/bin/sh", "-c", f"{mounts} && {daemon}"])
    for _ in wait(LIBVIRTD_S, "the second libvirtd", lambda: host.run("cat /data/b/log/libvirtd.log").out[-2000:]):
        if host.run(["virsh", "-c", OTHER_URI, "list"]).code == 0:
            break
    host.must(["virsh", "-c", OTHER_URI, "domcapabilities"], timeout_s=LIBVIRTD_S)


def xml(name: str, made: Made) -> str:
    """A guest as libvirt wants it told."""
    backing = "<memoryBacking><hugepages/></memoryBacking>" if made.huge else ""
    return f"""\
<domain type="kvm">
  <name>{name}</name>
  <memory unit="MiB">{made.memory_mib}</memory>
  {backing}
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <kernel>/guest/vmlinuz</kernel>
    <initrd>/guest/root.cpio</initrd>
    <cmdline>{KERNEL}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode="host-passthrough"/>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>preserve</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type="file"><source path="/run/lab/{name}.console"/></serial>
    <channel type="unix"><source mode="bind" path="/run/lab/{name}.agent"/>
      <target type="virtio" name="org.ringfence.guest.0"/></channel>
    <channel type="unix"><source mode="bind" path="/run/lab/{name}.lab"/>
      <target type="virtio" name="org.ringfence.lab.0"/></channel>
    <controller type="usb" model="none"/>
    <memballoon model="virtio"/>
    <panic model="isa"/>
    {made.more}
  </devices>
</domain>
"""


def create(host: Remote, name: str, made: Made = Made()) -> None:
    """Define and start a guest with libvirt."""
    host.write(f"/run/lab/{name}.xml", xml(name, made).encode())
    host.must(["virsh", "-c", URI, "define", f"/run/lab/{name}.xml"])
    host.must(["virsh", "-c", URI, "start", name], timeout_s=GUEST_S)


def create_bare(host: Remote, name: str, memory_mib: int = 192) -> None:
    """A guest of QEMU without libvirt, with QMP sockets at /run/lab/NAME.qmp and, for Ringfence, ringfence-NAME.qmp."""
    at = f"/run/lab/{name}"
    words = (
        "qemu-system-x86_64", "-name", f"guest={name}", "-accel", "kvm", "-cpu", "host", "-M", "q35", "-m",
        str(memory_mib), "-kernel", "/guest/vmlinuz", "-initrd", "/guest/root.cpio", "-append",
        f"'{KERNEL}'", "-nodefaults", "-display", "none",
        "-serial", f"file:{at}.console", "-qmp", f"unix:{at}.qmp,server=on,wait=off",
        "-qmp", f"unix:/run/lab/ringfence-{name}.qmp,server=on,wait=off", "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=c0,path={at}.agent,server=on,wait=off",
        "-device", "virtserialport,chardev=c0,name=org.ringfence.guest.0",
        "-chardev", f"socket,id=c1,path={at}.lab,server=on,wait=off",
        "-device", "virtserialport,chardev=c1,name=org.ringfence.lab.0",
        "-pidfile", f"{at}.pid", "-daemonize", "-D", f"{at}.log",
    )  # fmt: skip
    host.must(f"{' '.join(words)} >>{at}.log 2>&1", timeout_s=GUEST_S)


def up(host: Remote, name: str) -> None:
    """Wait for the first process of a guest. Raises LabError if it does not come up."""
    for _ in wait(GUEST_S, f"the guest {name}", lambda: said(host, name)[-3000:]):
        if "guest: up" in said(host, name):
            return


def pages(host: Remote, name: str, of: str = "pages") -> list[int]:
    """Guest-physical addresses of pages: those that a process holds, or ``of`` "free", "kernel", "poisoned"."""
    found = ask(host, name, of)
    assert isinstance(found, list)
    return found


def ask(host: Remote, name: str, request: str, timeout_s: float = ASK_S) -> object:
    """What the program in a guest answers. Raises LabError if it does not."""
    answered = host.talk(f"/run/lab/{name}.lab", request, timeout_s)
    if not answered:
        raise LabError(f"{name} does not answer {request!r}; its console:\n{said(host, name)[-3000:]}")
    answer: object = json.loads(answered)
    return answer


def said(host: Remote, name: str) -> str:
    """What a guest printed last on its console."""
    return host.run(["tail", "-c", "6000", f"/run/lab/{name}.console"]).out


_QMP: Final = """
import json, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
lines = connection.makefile("rw")
lines.readline()
for command in ("qmp_capabilities", sys.argv[2]):
    print(json.dumps({"execute": command}), file=lines, flush=True)
    while "return" not in (said := json.loads(lines.readline())):
        if "error" in said:
            sys.exit(said["error"]["desc"])
print(json.dumps(said["return"]))
"""


def monitor(host: Remote, name: str, command: str) -> str:
    """A command of the human monitor of a guest's QEMU, by way of libvirt."""
    return host.must(["virsh", "-c", URI, "qemu-monitor-command", "--hmp", name, command])


def qmp(host: Remote, name: str, command: str) -> str:
    """A command of QMP for a guest of QEMU without libvirt."""
    return host.must(["python3", "-c", _QMP, f"/run/lab/{name}.qmp", command])


def frame(host: Remote, name: str, gpa: int) -> int:
    """The host's page frame behind a guest-physical address, as QEMU says."""
    return int(monitor(host, name, f"gpa2hpa {gpa:#x}").rsplit(" ", 1)[1], 16) >> 12


# --- errors -----------------------------------------------------------------------------------------------------------

BANK: Final = 4
"""The northbridge of a family 15h processor (BKDG 42301)."""
CE: Final = 0x9C08_4000_0008_0813
"""A DRAM ECC error (extended code 8, bus error of memory, generic read), corrected (CECC), ADDRV, with a syndrome."""
DEFERRED: Final = 0x9C00_1000_0008_0813
"""The same, deferred: memory that is bad, and that nobody has read yet."""
FATAL: Final = 0xBE00_2000_0008_0813
"""The same, uncorrected with the processor's context corrupt."""
MISC_PHYSICAL: Final = 0x8C


def corrected(machine: Machine, page: int) -> None:
    """A corrected error at a frame of the host's memory. It is found by polling."""
    machine.machine_check(0, BANK, CE, 0, page << 12, MISC_PHYSICAL)


def deferred(machine: Machine, page: int) -> None:
    """A deferred error at a frame of the host's memory: the kernel takes the page out of use once it polls."""
    machine.machine_check(0, BANK, DEFERRED, 0, page << 12, MISC_PHYSICAL)


def unpack(host: Remote) -> None:
    """Take over what the disk of the machine brings, once more: a thawed machine has another's."""
    host.must("cd / && blockdev --flushbufs /dev/vdc && cpio -idu < /dev/vdc 2>/dev/null; test -f /usr/bin/ringfence")


def set_clock(host: Remote) -> None:
    """A thawed machine's clock stood still."""
    host.must(["date", "-u", "-s", f"@{time.time():.0f}"])


def poll_s(host: Remote, seconds: int) -> None:
    """How often the kernel looks into the banks (300 s if nobody says otherwise)."""
    host.must(f"echo {seconds} > /sys/devices/system/machinecheck/machinecheck0/check_interval")
