"""What a test does in the Dom0 of a Xen machine: its processes, and Ringfence as a service."""

from __future__ import annotations

import json
from typing import Any, Final

from lab.debian import LabError
from lab.machine import wait
from lab.remote import Remote
from lab.xen.guests import GUEST_S, Pages

STATE_DIR: Final = "/var/lib/ringfence"
POLICY: Final = "/etc/ringfence/policy.toml"
CONFIGURATION: Final = "/etc/ringfence/ringfence.toml"
PID: Final = "/tmp/ringfence.pid"
LOG: Final = "/tmp/ringfence.log"
EVENTS: Final = "/tmp/events.jsonl"
"""What ``ringfence events --follow`` prints: to start a Python for every look would take seconds under emulation."""
SERVICE_S: Final = 240.0
"""Until the service answers: Python starts slowly under emulation."""
MANY: Final = 100_000


_PROCESS: Final = """\
import ctypes, mmap, os, struct, time
pages = 4096
held = mmap.mmap(-1, pages << 12)
for at in range(pages):
    held[at << 12] = 1
first = ctypes.addressof(ctypes.c_char.from_buffer(held)) >> 12
with open("/proc/self/pagemap", "rb") as map:
    map.seek(first * 8)
    seen = struct.unpack(f"{pages}Q", map.read(pages * 8))
print(os.getpid(), *(each & (1 << 55) - 1 for each in seen if each >> 63), "all", flush=True)
time.sleep(3600)
"""


def process(dom0: Remote, name: str, pages: Pages) -> tuple[int, int]:
    """Start a process in Dom0 that has memory and does nothing with it: its number, and one of its machine frames."""
    dom0.write(f"/tmp/{name}.py", _PROCESS.encode())
    dom0.must(f"(setsid python3 /tmp/{name}.py >/tmp/{name}.pages 2>&1 </dev/null &)")
    for _ in wait(GUEST_S, "a process in Dom0", lambda: dom0.must(["cat", f"/tmp/{name}.pages"])[-2000:]):
        if dom0.must(["cat", f"/tmp/{name}.pages"]).endswith("all\n"):
            break
    number, *held = (int(each) for each in dom0.must(["cat", f"/tmp/{name}.pages"]).split()[:-1])
    found = [pages.dom0[each] for each in held if each in pages.dom0]
    if not found:
        raise LabError("none of the process's pages has a number that no guest has")
    return number, found[len(found) // 2]


def install(dom0: Remote) -> None:
    """Unpack Ringfence from the second disk, which the kernel may have seen with another in it."""
    dom0.must("echo 3 >/proc/sys/vm/drop_caches; cd / && cpio -idu </dev/extra", timeout_s=GUEST_S)


def serve(dom0: Remote, configuration: str = "") -> None:
    """Start Ringfence, until it answers; what it tells is followed into a file."""
    dom0.must(f"mkdir -p /etc/ringfence && touch {POLICY}")
    dom0.write(CONFIGURATION, configuration.encode())
    words = f"ringfence run --hypervisor xen --state-dir {STATE_DIR} --config {CONFIGURATION} --policy {POLICY}"
    follow = f"ringfence events --follow --details --json --last {MANY} --state-dir {STATE_DIR}"
    start = f"echo $$ >{PID}; exec {words} >>{LOG} 2>&1 </dev/null"
    dom0.must(f"rm -f {STATE_DIR}/control.sock; (setsid sh -c '{start}' &)")
    for _ in wait(SERVICE_S, "the service", lambda: dom0.must(["cat", LOG])):
        if dom0.run(["test", "-S", f"{STATE_DIR}/control.sock"]).code == 0:
            break
    dom0.must(f"(setsid {follow} >{EVENTS} 2>&1 </dev/null &)")
    for _ in wait(SERVICE_S, "the journal's first event"):
        if events(dom0):
            return


def kill_service(dom0: Remote) -> None:
    """End Ringfence at once, as a crash would."""
    dom0.must(f"kill -9 $(cat {PID})")
    for _ in wait(SERVICE_S, "the service's end"):
        if dom0.run(f"kill -0 $(cat {PID})").code != 0:
            return


def obey(dom0: Remote, policy: str) -> None:
    """Have the running service go by another policy."""
    dom0.write(POLICY, policy.encode())
    dom0.must(["ringfence", "config", "reload", "--state-dir", STATE_DIR], timeout_s=SERVICE_S)


def ask(dom0: Remote, *words: str) -> list[dict[str, Any]]:
    """What a command of Ringfence answers, as its JSON lines."""
    return parsed(dom0.must(["ringfence", *words, "--state-dir", STATE_DIR, "--json"], timeout_s=SERVICE_S))


def parsed(lines: str) -> list[dict[str, Any]]:
    """JSON, an object a line; other lines are passed over."""
    return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]


def events(dom0: Remote, after: int = 0) -> list[dict[str, Any]]:
    """The events of the journal after a number, in words, as they were told while it was followed."""
    return [each for each in parsed(dom0.must(["cat", EVENTS])) if each.get("number", 0) > after]
