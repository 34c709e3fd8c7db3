"""The saved domains that Ringfence made itself, and whether one may be restored: docs/decisions/0017.

Old memory over disks that went on is a corrupted file system. So a save is of use only while the disks are what they
were when the domain stopped: it has none that it can write to, or nothing was written to them since, as far as can be
proven. What cannot be proven is not so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISBLK, S_ISREG
from typing import Final

import msgspec

from ringfence.hypervisor.xen.parts import Store
from ringfence.world.domain import Checkpoint, Domain, DomainKind, DomainState
from ringfence.world.identities import DomainId, StepId

MOST_KEPT: Final = 256
"""Saved domains that are known of: the oldest are forgotten first, their files stay."""
MOST_DISKS: Final = 64
BLOCK_STATISTICS: Final = Path("/sys/dev/block")
_WRITES_AT: Final = 4
"""Of the numbers in a device's stat: writes that were completed (Linux Documentation/block/stat.rst)."""


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual disk, as its back end has it. ``place`` is the file or the device behind it, empty if nobody tells."""

    name: str
    place: str
    writable: bool


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A save. ``disks`` is None if they could not be told, ``writes`` how often each block device had been written to
    when it had ended, ``boot`` the kernel's name of the boot in which that was.

    ``went_on``: the domain has run since, so its disks are others.
    """

    order: StepId
    domain: DomainId
    uuid: str
    name: str
    kind: DomainKind
    vcpus: int
    memory_pages: int
    taken_ms: int
    boot: str
    disks: tuple[Disk, ...] | None
    writes: dict[str, int] = {}
    went_on: bool = False


def disks_of(domain: DomainId, store: Store) -> tuple[Disk, ...] | None:
    """The disks of a domain, by what libxl wrote down of them; None if one of them cannot be told.

    Only paths that no guest can write are believed: /libxl, and the back end's own (docs/misc/xenstore-paths.pandoc).
    """
    devices = f"/libxl/{domain}/device"
    if "device" not in store.directory(f"/libxl/{domain}"):
        return None
    names = store.directory(f"{devices}/vbd")[: MOST_DISKS + 1]
    found = [_disk(name, f"{devices}/vbd/{name}", store) for name in names]
    told = tuple(each for each in found if each is not None)
    return told if len(told) == len(found) <= MOST_DISKS else None


def _disk(name: str, path: str, store: Store) -> Disk | None:
    backend = store.read(f"{path}/backend")
    mode = store.read(f"{backend}/mode") if backend else None
    if mode is None:
        return None
    params = store.read(f"{backend}/params") or ""
    return Disk(name=name, place=params[params.find("/") :] if "/" in params else "", writable=mode != "r")


class Checkpoints:
    """The saves in a directory, each a file and a word about it. ``boot`` is the kernel's name of this boot."""

    def __init__(self, home: Path, boot: str, statistics: Path = BLOCK_STATISTICS) -> None:
        self._home, self._boot, self._statistics = home, boot, statistics
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._known: dict[str, Saved] = {}
        for saved in sorted(self._read(), key=lambda each: each.order):
            self._known[saved.uuid] = saved
        while len(self._known) > MOST_KEPT:
            del self._known[next(iter(self._known))]

    def _read(self) -> Iterator[Saved]:
        for path in self._home.glob("*.json"):
            with suppress(OSError, msgspec.DecodeError):
                yield msgspec.json.decode(path.read_bytes(), type=Saved)

    def file(self, uuid: str, order: StepId) -> Path:
        """Where a save of a domain is put."""
        return self._home / f"{uuid}.{order}.save"

    def begun(self, order: StepId, domain: Domain, at_ms: int, disks: tuple[Disk, ...] | None) -> Path:
        """A domain is being saved: the file that is to be. Raises OSError if it cannot be written down."""
        saved = Saved(
            order=order, domain=domain.id, uuid=domain.uuid, name=domain.name, kind=domain.kind, vcpus=domain.vcpus,
            memory_pages=domain.memory_pages, taken_ms=at_ms, boot=self._boot, disks=disks,
        )  # fmt: skip
        self._write(saved)
        earlier, self._known[saved.uuid] = self._known.get(saved.uuid), saved
        if earlier is not None and not self._is_there(earlier):
            self._forget(earlier)
        return self.file(saved.uuid, order)

    def ended(self, order: StepId, *, done: bool) -> None:
        """A save has ended, seen as it did: what its disks are then, they must be when it is restored."""
        saved = next((each for each in self._known.values() if each.order == order), None)
        if saved is None:
            return
        if not done:
            self._forget(saved)
            return
        writes = {disk.place: self._writes(disk.place) for disk in saved.disks or () if disk.writable}
        self._note(
            msgspec.structs.replace(
                saved, writes={place: count for place, count in writes.items() if count is not None}
            )
        )
        for old in self._home.glob(f"{saved.uuid}.*.save"):
            if old != self.file(saved.uuid, order):
                old.unlink(missing_ok=True)
                old.with_suffix(".json").unlink(missing_ok=True)

    def lives(self, uuids: Iterable[str]) -> None:
        """These domains run: what was saved of them before is old from now on, if they can write to a disk."""
        for uuid in self._known.keys() & frozenset(uuids):
            saved = self._known[uuid]
            if not saved.went_on and self._is_there(saved):
                self._note(msgspec.structs.replace(saved, went_on=True))

    def of(self, uuid: str) -> Checkpoint | None:
        """The newest save of a domain."""
        saved = self._known.get(uuid)
        if saved is None or not self._is_there(saved):
            return None
        return Checkpoint(taken_ms=saved.taken_ms, disks_of_same_moment=not self.why_not(uuid))

    def why_not(self, uuid: str) -> str:
        """Why the newest save of a domain cannot be restored; empty if it can."""
        saved = self._known.get(uuid)
        if saved is None or not self._is_there(saved):
            return "Ringfence has made no save of it"
        if saved.disks is None:
            return "which disks it had when it was saved could not be told"
        writable = [disk for disk in saved.disks if disk.writable]
        if writable and saved.went_on:
            return "it has run since it was saved: its disks went on, and old memory over them would corrupt them"
        for disk in writable:
            if why := self._why_changed(disk, saved):
                return f"disk {disk.name}: {why}"
        return ""

    def restorable(self, uuid: str) -> Path | None:
        """The file of the newest save of a domain, if it may be restored."""
        return None if self.why_not(uuid) else self.file(uuid, self._known[uuid].order)

    def waiting(self, here: Iterable[str]) -> tuple[Domain, ...]:
        """The saved domains that are not here, as the domains that they were."""
        gone = self._known.keys() - frozenset(here)
        return tuple(
            Domain(
                id=saved.domain, name=saved.name, kind=saved.kind, uuid=saved.uuid, state=DomainState.SAVED,
                vcpus=saved.vcpus, memory_pages=saved.memory_pages, checkpoint=self.of(saved.uuid),
            )
            for saved in self._known.values()
            if saved.uuid in gone and self._is_there(saved)
        )  # fmt: skip

    # --- within --------------------------------------------------------------------------------------------------

    def _why_changed(self, disk: Disk, saved: Saved) -> str:
        if not disk.place:
            return "what lies behind it is not told, so whether it changed since cannot be"
        try:
            found = Path(disk.place).stat()
            if S_ISREG(found.st_mode):
                changed = found.st_mtime_ns > self.file(saved.uuid, saved.order).stat().st_mtime_ns
                return "it was written to since the save" if changed else ""
            if not S_ISBLK(found.st_mode):
                return f"{disk.place} is neither a file nor a block device"
        except OSError as error:
            return f"{disk.place}: {error.strerror}"
        if saved.boot != self._boot or disk.place not in saved.writes:
            return "whether it was written to since the save cannot be told: nobody watched"
        return "" if self._writes(disk.place) == saved.writes[disk.place] else "it was written to since the save"

    def _writes(self, place: str) -> int | None:
        """How often a block device was written to in this boot; None if it is none, or nobody says."""
        try:
            number = Path(place).stat()
            if not S_ISBLK(number.st_mode):
                return None
            name = f"{os.major(number.st_rdev)}:{os.minor(number.st_rdev)}"
            return int((self._statistics / name / "stat").read_text(encoding="ascii").split()[_WRITES_AT])
        except (OSError, ValueError, IndexError):
            return None

    def _is_there(self, saved: Saved) -> bool:
        return self.file(saved.uuid, saved.order).exists()

    def _note(self, saved: Saved) -> None:
        """Write down what is known of a save. If that cannot be, the save is of no use: it might be believed later."""
        self._known[saved.uuid] = saved
        try:
            self._write(saved)
        except OSError:
            self._forget(saved)

    def _write(self, saved: Saved) -> None:
        path = self.file(saved.uuid, saved.order).with_suffix(".json")
        making = path.with_suffix(".making")
        making.write_bytes(msgspec.json.encode(saved) + b"\n")
        making.replace(path)

    def _forget(self, saved: Saved) -> None:
        self.file(saved.uuid, saved.order).with_suffix(".json").unlink(missing_ok=True)
        if self._known.get(saved.uuid) is saved:
            del self._known[saved.uuid]
