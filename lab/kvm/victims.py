"""Pages to be hit: of the host's processes, files and kernel, of nobody, and of a guest without libvirt."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.kvm import host as kvm
from lab.machine import wait
from lab.remote import Remote

STARTED_S: Final = 120.0
PIECE: Final = 8000
"""Of a file in one request, in base64: four of its letters are three bytes, so each piece stands for itself."""
SLAB, BUDDY = 7, 10
"""Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h)."""

_HOLDER: Final = r"""
import ctypes, json, mmap, os, struct, time
def frame(memory, index):
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory, index * 4096))
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(at // 4096 * 8)
        return struct.unpack("<Q", file.read(8))[0] & (1 << 55) - 1
memory = mmap.mmap(-1, 16 * 4096)
open("/data/cached", "wb").write(b"c" * 16 * 4096)
os.sync()
cached = mmap.mmap(os.open("/data/cached", os.O_RDWR), 16 * 4096)
for at in range(16):
    memory[at * 4096] = 1
    cached[at * 4096]
print(json.dumps({"own": [frame(memory, at) for at in range(16)], "cached": [frame(cached, at) for at in range(16)]}),
      flush=True)
while True:
    time.sleep(60)
"""
_FLAGGED: Final = r"""
import json, struct, sys
flags = b""
file = open("/proc/kpageflags", "rb", buffering=0)
while more := file.read(1 << 16):
    flags += more
bit = int(sys.argv[1])
found = [at for at, (value,) in enumerate(struct.iter_unpack("<Q", flags)) if value >> bit & 1 and at > 4096]
print(json.dumps(found[:: max(1, len(found) // 16)]))
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process of the host that holds memory: frames of its own, and frames of a file that it has mapped, clean."""

    pid: int
    own: tuple[int, ...]
    cached: tuple[int, ...]


def holder(host: Remote) -> Holder:
    """Start one."""
    host.write("/tmp/holder.py", _HOLDER.encode())
    host.must("(setsid python3 /tmp/holder.py >/tmp/holder.out 2>&1 </dev/null & echo $! >/tmp/holder.pid)")
    said = ""
    for _ in wait(STARTED_S, "the process", lambda: host.run("cat /tmp/holder.out").out):
        said = host.run("cat /tmp/holder.out").out
        if said.startswith("{"):
            break
    found = json.loads(said)
    return Holder(int(host.must("cat /tmp/holder.pid")), tuple(found["own"]), tuple(found["cached"]))


def lives(host: Remote, pid: int) -> bool:
    """Whether a process is there."""
    return host.run(["test", "-d", f"/proc/{pid}/fd"]).code == 0


def flagged(host: Remote, bit: int) -> list[int]:
    """Frames of the host that have a flag, spread over its memory."""
    found: list[int] = json.loads(host.must(["python3", "-c", _FLAGGED, str(bit)], timeout_s=STARTED_S))
    return found


_HUMAN: Final = r"""
import json, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
lines = connection.makefile("rw")
lines.readline()
asked = {"execute": "human-monitor-command", "arguments": {"command-line": sys.argv[2]}}
for each in ({"execute": "qmp_capabilities"}, asked):
    print(json.dumps(each), file=lines, flush=True)
    while "return" not in (said := json.loads(lines.readline())):
        pass
print(said["return"])
"""


def bare_frame(host: Remote, name: str, gpa: int) -> int:
    """The host's frame behind a page of a guest without libvirt, as its QEMU says."""
    said = host.must(["python3", "-c", _HUMAN, f"/run/lab/{name}.qmp", f"gpa2hpa {gpa:#x}"], timeout_s=STARTED_S)
    return int(said.rsplit(" ", 1)[1], 16) >> 12


def agent(host: Remote, name: str) -> None:
    """Put Ringfence's agent into a guest, and start it."""
    with tempfile.TemporaryDirectory() as place:
        packed = Path(place, "agent.pyz")
        subprocess.run([sys.executable, "-m", "ringfence.guest", "--pack", packed], check=True, capture_output=True)
        data = base64.b64encode(packed.read_bytes()).decode()
    for start in range(0, len(data), PIECE):
        kvm.ask(host, name, f"put /agent.pyz {data[start : start + PIECE]}")
    kvm.ask(host, name, "spawn /usr/bin/python3 -S /agent.pyz --json")


def poll_s(host: Remote, name: str, seconds: int) -> None:
    """How often a guest's kernel looks into its banks: QEMU tells an AMD guest of deferred errors by these alone."""
    given = base64.b64encode(b"%d\n" % seconds).decode()
    kvm.ask(host, name, f"put /sys/devices/system/machinecheck/machinecheck0/check_interval {given}")
