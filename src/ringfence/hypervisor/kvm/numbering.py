"""Numbers of domains: one that stays with a virtual machine, whatever QEMU process runs it.

libvirt's own number is another at each start, and QEMU without libvirt has none. A file beside the journal keeps which
machine has which number, so that a restart of Ringfence names them as before, and how often its memory was made anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ringfence.errors import HypervisorError
from ringfence.world.identities import DOMID_COW, DomainId

NAME: Final = "domains.json"
KEPT: Final = 4096
"""Machines that are remembered; the ones seen first go first. A host runs some hundred."""
_MOST_BYTES: Final = 1 << 20


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a machine. ``process`` is the last one that ran it, ``incarnation`` counts them from 0."""

    number: int
    process: tuple[int, int] | None = None
    incarnation: int = 0


class _File(msgspec.Struct, frozen=True, kw_only=True):
    next: int = 1
    boot: int = 0
    machines: dict[str, Known] = {}


class Numbering:
    """The numbers of one host. Used by one thread. ``boot`` is the boot's number: processes are of one boot."""

    def __init__(self, state_dir: Path, boot: int) -> None:
        self._path, self._boot = state_dir / NAME, boot
        found = _read(self._path)
        self._next = found.next
        # Of another boot, a process of the same number is another; the memory was made anew by the reboot.
        self._machines = dict(found.machines)
        if found.boot != boot:
            self._machines = {
                key: msgspec.structs.replace(known, process=None) for key, known in self._machines.items()
            }
        self._is_new = found.boot != boot
        self.earlier = {
            known.process[0]: (known.process[1], key) for key, known in self._machines.items() if known.process
        }
        """Which process ran which machine in an earlier life of this boot: its number, its start, the machine."""

    def number(self, key: str, process: tuple[int, int] | None) -> Known:
        """The number of a machine (its UUID, or another name that stays), and its incarnation by who runs it now."""
        known = self._machines.get(key)
        if known is None:
            self._next += self._next == DOMID_COW
            known = Known(number=self._next, process=process)
            self._next += 1
        elif process is not None and process != known.process:
            made_anew = known.incarnation + 1
            known = msgspec.structs.replace(known, process=process, incarnation=made_anew)
        else:
            return known
        self._machines[key] = known
        self._is_new = True
        while len(self._machines) > KEPT:
            del self._machines[next(iter(self._machines))]
        return known

    def key_of(self, number: DomainId) -> str | None:
        """Which machine has a number."""
        return next((key for key, known in self._machines.items() if known.number == number), None)

    def keep(self) -> None:
        """Write down what is new. Raises HypervisorError if that cannot be done."""
        if not self._is_new:
            return
        making = self._path.with_suffix(".making")
        try:
            making.write_bytes(
                msgspec.json.encode(_File(next=self._next, boot=self._boot, machines=self._machines)) + b"\n"
            )
            making.replace(self._path)
        except OSError as error:
            advice = "See that the state directory may be written and has room."
            raise HypervisorError(f"{self._path}: {error.strerror}", advice=advice) from error
        self._is_new = False


def _read(path: Path) -> _File:
    """What the file holds; a damaged one holds nothing: the journal tells strangers by their UUID."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MOST_BYTES), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return _File()
