"""What a test does in the Dom0 of a Xen machine: guests, their pages, and Ringfence as a service."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from lab.machine import wait
from lab.remote import Remote

STATE_DIR: Final = "/var/lib/ringfence"
GUEST_S: Final = 90.0
"""Until a guest's first process runs: 9 s were seen where nothing else ran."""
SERVICE_S: Final = 90.0
"""Until the service answers: Python starts slowly under emulation."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A domain that was created."""

    name: str
    number: int


def create(dom0: Remote, name: str, *, kind: str = "pv", memory_mib: int = 192) -> Guest:
    """Start a guest, until its first process runs. Raises LabError if it does not come up."""
    lines = (
        f'name = "{name}"', f'type = "{kind}"', f"memory = {memory_mib}", "vcpus = 1", 'kernel = "/guest/vmlinuz"',
        'ramdisk = "/guest/root.cpio"', 'extra = "console=hvc0 rdinit=/init"', 'on_crash = "preserve"',
        'tsc_mode = "native"',
    )  # fmt: skip
    dom0.write(f"/guest/{name}.cfg", "\n".join(lines).encode() + b"\n")
    dom0.must(["xl", "create", f"/guest/{name}.cfg"], timeout_s=GUEST_S)
    number = int(dom0.must(["xl", "domid", name]))
    for _ in wait(GUEST_S, f"the guest {name}", lambda: said(dom0, name)[-3000:]):
        if "guest: up" in said(dom0, name):
            break
    return Guest(name, number)


def said(dom0: Remote, name: str) -> str:
    """What a guest printed on its console."""
    return dom0.run(["cat", f"/var/log/xen/console/guest-{name}.log"]).out


def frames(dom0: Remote, guest: Guest) -> list[int]:
    """Some of the machine frames of a PV guest, spread over its memory: a serial line is too slow for all of them."""
    dump = dom0.must(f"xen-mfndump dump-p2m {guest.number} | awk 'NR % 400 == 200'", timeout_s=120)
    return [int(each, 16) for each in re.findall(r"mfn=0x([0-9a-f]+)", dump)]


def serve(dom0: Remote, *options: str) -> None:
    """Start Ringfence, until it answers."""
    words = " ".join(("ringfence run --hypervisor xen --state-dir", STATE_DIR, *options))
    dom0.must(f"(setsid {words} >>/tmp/ringfence.log 2>&1 </dev/null &)")
    for _ in wait(SERVICE_S, "the service", lambda: dom0.must("cat /tmp/ringfence.log")):
        if dom0.run(["test", "-S", f"{STATE_DIR}/control.sock"]).code == 0:
            return


def ask(dom0: Remote, *words: str) -> list[dict[str, Any]]:
    """What a command of Ringfence answers, as its JSON lines."""
    lines = dom0.must(["ringfence", *words, "--state-dir", STATE_DIR, "--json"], timeout_s=SERVICE_S)
    return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]


def events(dom0: Remote, after: int = 0) -> list[dict[str, Any]]:
    """The events of the journal after a number, in words."""
    return [each for each in ask(dom0, "events", "--after", str(after), "--last", "100000") if "number" in each]
