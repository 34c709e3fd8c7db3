"""A guest that runs Ringfence's agent: its root is made in Dom0, of Dom0's own Python and the packed agent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lab.machine import wait
from lab.remote import Remote

UP_S: Final = 300.0
"""Until its agent has registered: a Python starts in an emulated machine."""

_ROOT: Final = "/guest/agent"
_INIT: Final = """\
#!/usr/bin/busybox sh
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
python3 -S /holder.py &
while true; do python3 -S /agent.pyz --json; echo "guest: the agent ended with $?"; sleep 1; done
"""
_HOLDER: Final = """\
import mmap, struct, time
held = mmap.mmap(-1, 64 << 12)
for at in range(64):
    held[at << 12] = at + 1
with open("/proc/self/maps") as maps:
    first = next(int(line.split("-")[0], 16) for line in maps if "/dev/zero" in line) >> 12
before = 0
while True:
    with open("/proc/self/pagemap", "rb", buffering=0) as map:
        map.seek((first + 32) * 8)
        entry = struct.unpack("Q", map.read(8))[0]
    good = all(held[at << 12] == at + 1 for at in range(64))
    if entry != before:
        print(f"holder: pfn={entry & (1 << 55) - 1:#x} {'good' if good else 'bad'}", flush=True)
    before = entry
    time.sleep(0.2)
"""
"""A process that has memory, says where one page of it is whenever that changes, and whether its content is good."""

_LIST: Final = """\
import glob, importlib.util, mmap, os, pkgutil, runpy, struct, subprocess, sys, zipimport
sys.path.insert(0, sys.argv[1])
import ringfence.guest.__main__, encodings
python, loader = os.path.realpath(sys.executable), "/lib64/ld-linux-x86-64.so.2"
files = {python, loader, *glob.glob(os.path.dirname(encodings.__file__) + "/*.py")}
loaded = [getattr(each, "__file__", None) or "" for each in list(sys.modules.values())]
files |= {each for each in loaded if each.startswith("/usr/lib")}
for each in [each for each in files if each == python or each.endswith(".so")]:
    said = subprocess.run([loader, "--list", each], capture_output=True, text=True).stdout
    files |= {word for line in said.splitlines() for word in line.split()[2:3] if word.startswith("/")}
# Libraries are links, in directories that are links: both ends of the former, no way through the latter.
files = {os.path.join(os.path.realpath(os.path.dirname(each)), os.path.basename(each)) for each in files}
files |= {os.path.realpath(each) for each in files}
above = {parent for each in files for at in range(1, each.count("/")) if (parent := each.rsplit("/", at)[0])}
links = {each for each in ("/lib", "/lib64", "/bin", "/sbin") if os.path.islink(each)}
for each in sorted(links | files | above):
    print(each.lstrip("/"))
"""
"""The files of Python that the agent uses: Dom0 has no room for all of Python twice."""
_MAKE: Final = f"""\
set -e
ringfence guest --pack {_ROOT}/agent.pyz
mkdir {_ROOT}/proc {_ROOT}/sys {_ROOT}/dev
chmod 755 {_ROOT}/init
cd / && (python3 -S /guest/list.py {_ROOT}/agent.pyz; ls -d usr usr/bin usr/sbin usr/bin/busybox usr/bin/python3) |
    sort -u | cpio -o -H newc >/guest/agent.cpio
cd {_ROOT} && find . | cpio -o -H newc >>/guest/agent.cpio
rm -rf {_ROOT}
"""
"""Two archives, one behind the other: the kernel unpacks both."""


@dataclass(frozen=True, slots=True)
class AgentGuest:
    """A guest with an agent and a process that holds memory: the number of one page of that, and its machine frame."""

    name: str
    number: int
    page: int
    frame: int


def create(dom0: Remote, name: str, *, memory_mib: int = 256) -> AgentGuest:
    """Start it, until its agent has registered with the service. Raises LabError if it does not."""
    dom0.must(f"rm -rf {_ROOT} && mkdir -p {_ROOT}")
    dom0.write(f"{_ROOT}/init", _INIT.encode())
    dom0.write(f"{_ROOT}/holder.py", _HOLDER.encode())
    dom0.write("/guest/list.py", _LIST.encode())
    dom0.must(_MAKE, timeout_s=UP_S)
    lines = (
        f'name = "{name}"', 'type = "pv"', f"memory = {memory_mib}", "vcpus = 1", 'kernel = "/guest/vmlinuz"',
        'ramdisk = "/guest/agent.cpio"', 'extra = "console=hvc0 rdinit=/init"', 'on_crash = "preserve"',
    )  # fmt: skip
    dom0.write(f"/guest/{name}.cfg", "\n".join(lines).encode() + b"\n")
    dom0.must(["xl", "create", f"/guest/{name}.cfg"], timeout_s=UP_S)
    dom0.must("rm /guest/agent.cpio")
    for _ in wait(UP_S, f"the agent in {name}", lambda: said(dom0, name)[-3000:]):
        if '"event": "registered"' in said(dom0, name) and "holder: pfn=" in said(dom0, name):
            break
    number = int(dom0.must(["xl", "domid", name]))
    page = held(dom0, name)[-1]
    dump = dom0.must(f"xen-mfndump dump-p2m {number} | grep 'pfn={page:#x} '", timeout_s=UP_S)
    (frame,) = re.findall(r"mfn=0x([0-9a-f]+)", dump)
    return AgentGuest(name, number, page, int(frame, 16))


def said(dom0: Remote, name: str) -> str:
    """What the guest printed on its console."""
    return dom0.run(["cat", f"/var/log/xen/console/guest-{name}.log"]).out


def held(dom0: Remote, name: str) -> list[int]:
    """The numbers that the held page has had, the last one last. Raises AssertionError if its content went bad."""
    found = re.findall(r"holder: pfn=(0x[0-9a-f]+) (\w+)", said(dom0, name))
    assert {state for _, state in found} <= {"good"}
    return [int(page, 16) for page, _ in found]
