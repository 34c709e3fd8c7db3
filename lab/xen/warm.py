"""Machines with Xen, their guests and Ringfence: booted once, kept in the cache, and every test goes on from there."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from lab import debian, wheel
from lab.machine import Machine
from lab.remote import Remote
from lab.xen import dom0, guests
from lab.xen.image import Image
from lab.xen.machine import Files, Frozen, Hardware, freeze, start, thaw

_RECIPE: Final = tuple(Path(__file__).with_name(name) for name in ("guests.py", "machine.py"))
_PAGES: Final = "pages.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A machine as a test finds it. ``guests`` by name, each with its kind."""

    name: str
    hardware: Hardware
    guests: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Warm:
    """A frozen machine, and whose pages are where in it."""

    frozen: Frozen
    pages: guests.Pages


@debian.alone("xen-boot")
def booted(image: Image, wanted: Wanted) -> Warm:
    """Dom0 and its guests, frozen; made anew where anything that it is made of has changed. Raises LabError."""
    recipe = "\n".join(
        (str(image.root), str(wanted), inspect.getsource(booted), *(each.read_text() for each in _RECIPE))
    )
    key = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    home = debian.cache() / f"xen-warm-{wanted.name}-{key}"
    if not home.exists():
        for old in debian.cache().glob(f"xen-warm-{wanted.name}-*"):
            shutil.rmtree(old, ignore_errors=True)
        making = home.with_suffix(".making")
        machine = Machine(making)
        try:
            start(machine, image, wanted.hardware)
            with Remote(machine) as remote:
                made = [each for kind, names in _by_kind(wanted) for each in guests.create(remote, *names, kind=kind)]
                found = guests.pages(remote, machine, [each for each in made if each.name in _pv(wanted)])
                remote.must("sync")
            (making / _PAGES).write_bytes(msgspec.json.encode(found))
            freeze(machine, image, wanted.hardware)
        finally:
            machine.stop()
        making.rename(home)
    frozen = Frozen(image, wanted.hardware, replace(Files(home), private=True))
    return Warm(frozen, msgspec.json.decode((home / _PAGES).read_bytes(), type=guests.Pages))


def _by_kind(wanted: Wanted) -> list[tuple[str, list[str]]]:
    kinds = dict.fromkeys(kind for _, kind in wanted.guests)
    return [(kind, [name for name, its in wanted.guests if its == kind]) for kind in kinds]


def _pv(wanted: Wanted) -> set[str]:
    return {name for name, kind in wanted.guests if kind == "pv"}


def serving(machine: Machine, warm: Warm) -> Warm:
    """The same with Ringfence as it is now, its service up and followed. Raises LabError."""
    image = warm.frozen.image
    thaw(machine, warm.frozen, extra=wheel.archive(image.choice.python, image.tree), again=True)
    with Remote(machine) as remote:
        dom0.install(remote)
        dom0.serve(remote)
        remote.must("sync")
    return Warm(freeze(machine, image, warm.frozen.hardware), warm.pages)
