"""The guests of a Xen machine, and whose pages are where in it."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from lab.debian import LabError
from lab.machine import Machine, wait
from lab.remote import Remote

GUEST_S: Final = 240.0
"""Until a guest's first process runs: 9 s were seen where nothing else ran."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A domain that was created."""

    name: str
    number: int


def create(dom0: Remote, *names: str, kind: str = "pv", memory_mib: int = 192) -> list[Guest]:
    """Start guests, until the first process of each runs. Raises LabError if one does not come up."""
    for name in names:
        lines = (
            f'name = "{name}"', f'type = "{kind}"', f"memory = {memory_mib}", "vcpus = 1", 'kernel = "/guest/vmlinuz"',
            'ramdisk = "/guest/root.cpio"', 'extra = "console=hvc0 rdinit=/init"', 'on_crash = "preserve"',
            'tsc_mode = "native"',
        )  # fmt: skip
        dom0.write(f"/guest/{name}.cfg", "\n".join(lines).encode() + b"\n")
        dom0.must(["xl", "create", f"/guest/{name}.cfg"], timeout_s=GUEST_S)
    for name in names:
        for _ in wait(GUEST_S, f"the guest {name}", lambda name=name: said(dom0, name)[-3000:]):
            if "guest: up" in said(dom0, name):
                break
    return [guest(dom0, name) for name in names]


def guest(dom0: Remote, name: str) -> Guest:
    """A domain that is there."""
    return Guest(name, int(dom0.must(["xl", "domid", name])))


def said(dom0: Remote, name: str) -> str:
    """What a guest printed on its console."""
    return dom0.run(["cat", f"/var/log/xen/console/guest-{name}.log"]).out


@dataclass(frozen=True, slots=True)
class Pages:
    """Whose pages are where, as it was when the machine was frozen: ``free`` ones are far from all others."""

    free: tuple[int, ...]
    guests: dict[str, tuple[int, ...]]
    xen: int
    dom0: dict[int, int]
    """Machine frames of those of Dom0's pages whose number is above that of any page of a guest, by this number."""


GUEST_PAGES: Final = 0xC000
"""Pages of a guest, 192 MiB: who has a page with a greater number is Dom0."""
_FREE_RUN: Final = 0x1000
"""As many frames of nobody in a row are taken to be free memory, and no heap of Xen's."""
_M2P_AT: Final = 0xFFFF_8000_0000_0000
"""Where every PV domain may read which page a machine frame is to its owner (xen/include/public/arch-x86/xen-x86_64.h,
MACH2PHYS_VIRT_START); Xen maps it in pieces of 2 MiB."""
_PIECE: Final = 2 << 20
MAPPED_S: Final = 30.0
_NOBODY: Final = 0xFFFF_FFFF_FFFF_FFFF


def pages(dom0: Remote, machine: Machine, guests: Iterable[Guest]) -> Pages:
    """Look into the machine's memory, and ask Xen's tools for what guests have. Raises LabError."""
    table = _m2p(machine)
    edges = [at for at in range(1, len(table)) if (table[at] == _NOBODY) != (table[at - 1] == _NOBODY)]
    runs = [(at, end) for at, end in pairwise((*edges, len(table))) if table[at] == _NOBODY and end - at >= _FREE_RUN]
    if not runs:
        raise LabError("no free memory is left in the machine: give it more")
    start, end = max(runs, key=lambda run: run[1] - run[0])
    image_at = re.search(r"New Xen image base address: 0x([0-9a-f]+)", machine.said())
    if image_at is None:
        raise LabError("Xen did not say where it is")
    return Pages(
        free=tuple(range(start + _FREE_RUN // 2, end - _FREE_RUN // 4, 0x40)),
        guests={each.name: tuple(frames(dom0, each)) for each in guests},
        xen=(int(image_at[1], 16) >> 12) + 0x220,
        dom0={page: frame for frame, page in enumerate(table) if GUEST_PAGES <= page < len(table)},
    )


def _m2p(machine: Machine) -> array[int]:
    """The page of every machine frame, from the file that is the machine's memory."""
    memory = machine.home / "memory"
    frames = memory.stat().st_size >> 12
    table = array("Q")
    with memory.open("rb") as file:
        for piece in range(0, frames * table.itemsize, _PIECE):
            at = _mapped(machine, _M2P_AT + piece)
            file.seek(at)
            table.frombytes(file.read(min(_PIECE, frames * table.itemsize - piece)))
    return table


def _mapped(machine: Machine, address: int) -> int:
    """Where Xen's memory is in the machine's; not told while the processor runs a guest that has tables of its own."""
    for _ in wait(MAPPED_S, "Xen's table of pages"):
        if found := re.search("gpa: 0x([0-9a-f]+)", machine.monitor(f"gva2gpa {address:#x}")):
            return int(found[1], 16)
    raise AssertionError


def frames(dom0: Remote, guest: Guest) -> list[int]:
    """Some of the machine frames of a PV guest, spread over its memory: a serial line is too slow for all of them."""
    dump = dom0.must(f"xen-mfndump dump-p2m {guest.number} | awk 'NR % 400 == 200'", timeout_s=GUEST_S)
    return [int(each, 16) for each in re.findall(r"mfn=0x([0-9a-f]+)", dump)]
