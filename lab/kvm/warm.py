"""A KVM host with its guests and two libvirtds, booted once and kept in the cache: every machine goes on from there."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from lab import debian, wheel
from lab.kvm import host as kvm
from lab.kvm.image import PYTHON, Image
from lab.kvm.machine import Files, Frozen, Hardware, freeze, start, thaw
from lab.machine import Machine
from lab.remote import Remote
from lab.service import Service

GUEST: Final = "g1"
"""It runs; the others are stopped, and cost no time until they go on."""
HUGE: Final = "huge"
"""Its memory is of 2 MiB pages."""
BARE: Final = "bare"
"""QEMU without libvirt."""
HUGE_PAGES: Final = 100
"""Of 2 MiB: the guest's 192 MiB, and some."""
CONFIG: Final = f"""
[kvm]
destination = "{kvm.OTHER_URI}"
"""
POLICY: Final = """
[trends]
page_count = 3
"""
"""Three, not ten: at the fifth corrected error Linux 6.12 sees a storm in the bank, and once that is over it polls the
bank no more (storms are tracked for CMCI and for AMD's thresholds; this processor has neither)."""

_LEARN: Final = """
import argparse, asyncio, concurrent.futures, ctypes, decimal, email, http.server, importlib.metadata, inspect, json
import libvirt, logging, multiprocessing, sqlite3, ssl, subprocess, tomllib, typing, urllib.request, uuid
import xml.etree.ElementTree
"""
"""Python compiles its library when it is first used: once, and not in every machine."""
_RECIPE: Final = tuple(Path(__file__).with_name(name) for name in ("host.py", "machine.py", "warm.py"))


@debian.alone("kvm-boot")
def booted(image: Image) -> Frozen:
    """The host, frozen; made anew where anything that it is made of has changed. Raises LabError."""
    hardware = Hardware()
    recipe = "\n".join((str(image.first), str(hardware), *(each.read_text() for each in _RECIPE)))
    home = debian.cache() / f"kvm-warm-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if not home.exists():
        for old in debian.cache().glob("kvm-warm-*"):
            shutil.rmtree(old, ignore_errors=True)
        making = home.with_suffix(".making")
        machine = Machine(making)
        try:
            start(machine, image, hardware)
            with Remote(machine) as host:
                _guests(host)
                kvm.other_libvirtd(host)
                host.must(["python3", "-c", _LEARN], timeout_s=kvm.GUEST_S)
                host.must("sync")
            freeze(machine, image, hardware)
        finally:
            machine.stop()
        making.rename(home)
    return Frozen(image, hardware, replace(Files(home), private=True))


def _guests(host: Remote) -> None:
    kvm.libvirtd(host)
    host.must(f"echo {HUGE_PAGES} > /proc/sys/vm/nr_hugepages")
    # One after the other: two that boot at once have one emulated processor between them, and starve.
    kvm.create(host, HUGE, kvm.Made(huge=True))
    kvm.up(host, HUGE)
    host.must(["virsh", "-c", kvm.URI, "suspend", HUGE])
    kvm.create_bare(host, BARE)
    kvm.up(host, BARE)
    kvm.qmp(host, BARE, "stop")
    kvm.create(host, GUEST)
    kvm.up(host, GUEST)


def go_on(machine: Machine, warm: Frozen, *, again: bool = False, tied: bool = True) -> None:
    """Thaw it with Ringfence as it is in the tree now. Raises LabError."""
    thaw(machine, warm, extra=wheel.archive(PYTHON, warm.image.tree), again=again, tied=tied)
    with Remote(machine) as host:
        kvm.set_clock(host)
        kvm.unpack(host)


def serving(machine: Machine, warm: Frozen) -> Frozen:
    """The same with Ringfence's service up and followed, and the kernel's polling once a second. Raises LabError."""
    go_on(machine, warm, again=True)
    with Remote(machine) as host:
        kvm.poll_s(host, 1)
        Service(machine, host, "kvm").start(config=CONFIG, policy=POLICY)
        host.must("sync")
    return freeze(machine, warm.image, warm.hardware)
