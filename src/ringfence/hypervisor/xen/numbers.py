"""The number that a PV guest has for a frame of the machine: Xen's own table of them, of which Dom0 may read pages.

A PV guest is told of a page in its own numbers (law L7), and Xen's telemetry has the machine's. The table is asked for
one page of it at a time; nothing of it is kept, as guests change it.

Sources: xen/include/public/memory.h (XENMEM_machphys_mfn_list), xen/arch/x86/x86_64/mm.c (subarch_memory_op); Linux
include/uapi/xen/privcmd.h, drivers/xen/privcmd.c (privcmd_ioctl_mmap).
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from pathlib import Path
from struct import Struct
from typing import Final, Protocol

from ringfence.hypervisor.xen.privcmd import DEVICE, Gate
from ringfence.world.identities import PAGE_BYTES, Frame, GuestFrame

MEMORY_OP: Final = 12
"""__HYPERVISOR_memory_op."""
_MACHPHYS_MFN_LIST: Final = 5
_LIST: Final = Struct("<I4xQI4x")
"""struct xen_machphys_mfn_list: max_extents, extent_start, nr_extents."""
_DOMID_XEN: Final = 0x7FF2
_EXTENT_PAGES: Final = 512
"""The table is told as extents of 2 MiB."""
_ENTRY_BYTES: Final = 8
_PAGE_ENTRIES: Final = PAGE_BYTES // _ENTRY_BYTES
_EXTENT_FRAMES: Final = _EXTENT_PAGES * _PAGE_ENTRIES
MOST_EXTENTS: Final = 16_384
"""Of 1 GiB each: 16 TiB, as much as the page offlining hypercall can name."""
_AT: Final = 0
_EXTENTS_AT: Final = 4096
_MOST_NUMBER: Final = 1 << 40
"""Above are no numbers but marks: INVALID_M2P_ENTRY, SHARED_M2P_ENTRY (xen/arch/x86/include/asm/mm.h)."""

_IOCTL_MMAP: Final = 0x105002
"""IOCTL_PRIVCMD_MMAP: _IOC(_IOC_NONE, 'P', 2, sizeof(struct privcmd_mmap))."""
_MMAP: Final = Struct("<iHxxQ")
_MMAP_ENTRY: Final = Struct("<QQQ")


class Table(Protocol):
    """Pages of Xen's table, by their machine frames."""

    def page(self, frame: int) -> bytes:
        """One page of it. Raises OSError."""
        ...


class Mapped:
    """Pages of Xen's as ``/dev/xen/privcmd`` maps them, read only."""

    def __init__(self, device: Path = DEVICE) -> None:
        self._device = device
        # Python's own mmap does not tell the address of what may not be written.
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
        ]  # fmt: skip
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def page(self, frame: int) -> bytes:
        """As ``Table.page``."""
        file = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
        try:
            address = self._libc.mmap(None, PAGE_BYTES, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
            if address in {None, ctypes.c_void_p(-1).value}:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(self._device))
            try:
                entry = ctypes.create_string_buffer(_MMAP_ENTRY.pack(address, frame, 1), _MMAP_ENTRY.size)
                fcntl.ioctl(file, _IOCTL_MMAP, _MMAP.pack(1, _DOMID_XEN, ctypes.addressof(entry)))
                return ctypes.string_at(address, PAGE_BYTES)
            finally:
                self._libc.munmap(address, PAGE_BYTES)
        finally:
            os.close(file)


class Numbers:
    """What guests call their frames. ``table`` maps its pages."""

    def __init__(self, gate: Gate, table: Table) -> None:
        self._gate, self._table = gate, table

    def of(self, frame: Frame) -> GuestFrame | None:
        """The number that its owner has for a frame, None if it has none or Xen does not tell.

        What stands there was written by the owner itself, for itself: tell it to nobody else.
        """
        extent, within = divmod(frame, _EXTENT_FRAMES)
        if not 0 <= extent < MOST_EXTENTS:
            return None
        try:
            first = self._extent(extent)
            if first is None:
                return None
            page = self._table.page(first + within // _PAGE_ENTRIES)
        except OSError:
            return None
        at = within % _PAGE_ENTRIES * _ENTRY_BYTES
        number = int.from_bytes(page[at : at + _ENTRY_BYTES], "little")
        return GuestFrame(number) if number < _MOST_NUMBER else None

    def _extent(self, number: int) -> int | None:
        """The first frame of an extent of the table, None beyond its end."""
        start = self._gate.write(_EXTENTS_AT, bytes(_ENTRY_BYTES * (number + 1)))
        at = self._gate.write(_AT, _LIST.pack(number + 1, start, 0))
        self._gate.call(MEMORY_OP, _MACHPHYS_MFN_LIST, at)
        _, _, told = _LIST.unpack(self._gate.read(_AT, _LIST.size))
        if told <= number:
            return None
        return int.from_bytes(self._gate.read(_EXTENTS_AT + _ENTRY_BYTES * number, _ENTRY_BYTES), "little")
