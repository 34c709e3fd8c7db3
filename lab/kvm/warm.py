"""A KVM host with a guest and two libvirtds, booted once and kept in the cache: every machine goes on from there."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from lab import debian
from lab.kvm import host as kvm
from lab.kvm.image import Image
from lab.kvm.machine import Files, Frozen, Hardware, freeze, start
from lab.machine import Machine
from lab.remote import Remote

GUEST: Final = "g1"
"""It runs; the others are stopped, and cost no time until they go on."""
HUGE: Final = "huge"
BARE: Final = "bare"
HUGE_PAGES: Final = 100
"""Of 2 MiB: the guest's 192 MiB, and some."""
_RECIPE: Final = tuple(Path(__file__).with_name(name) for name in ("host.py", "machine.py", "warm.py"))


def warm(image: Image) -> Frozen:
    """The host, frozen; made anew where anything that it is made of has changed. Raises LabError."""
    hardware = Hardware()
    recipe = "\n".join((str(image.first), str(hardware), *(each.read_text() for each in _RECIPE)))
    home = debian.cache() / f"kvm-warm-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if not home.exists():
        making = home.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        machine = Machine(making)
        try:
            start(machine, image, hardware)
            with Remote(machine) as host:
                kvm.libvirtd(host)
                host.must(f"echo {HUGE_PAGES} > /proc/sys/vm/nr_hugepages")
                kvm.create(host, HUGE, kvm.Made(huge=True))
                host.must(["virsh", "-c", kvm.URI, "suspend", HUGE])
                kvm.create_bare(host, BARE)
                kvm.qmp(host, BARE, "stop")
                kvm.create(host, GUEST)
                kvm.other_libvirtd(host)
                host.must("rm -f /run/lab/*.xml; sync")
            freeze(machine, image, hardware)
        finally:
            machine.stop()
        making.rename(home)
    return Frozen(image, hardware, replace(Files(home), private=True))
