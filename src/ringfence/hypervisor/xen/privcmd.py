"""Hypercalls from Dom0's user space: /dev/xen/privcmd, with buffers that Xen may touch at any time.

Sources: Linux include/uapi/xen/privcmd.h and drivers/xen/privcmd-buf.c; xen/include/public/xen.h. Why neither
libxenctrl nor an extension: docs/decisions/0015-privcmd-itself.md.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from pathlib import Path
from struct import Struct
from typing import Final, Protocol

from ringfence.errors import HypervisorError

DEVICE: Final = Path("/dev/xen/privcmd")
BUFFERS: Final = Path("/dev/xen/hypercall")

_HYPERCALL: Final = 0x305000
"""IOCTL_PRIVCMD_HYPERCALL: _IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall))."""
_ARGUMENTS: Final = Struct("<6Q")
"""struct privcmd_hypercall: the number, and five arguments."""

XEN_VERSION: Final = 17
SYSCTL: Final = 35
DOMCTL: Final = 36
KEXEC_OP: Final = 37
MCA: Final = 48
"""__HYPERVISOR_*."""

_BUFFER_BYTES: Final = 1 << 18
"""For one hypercall's structures: 2,048 domains of 112 bytes are the most that is asked for at once."""


class Gate(Protocol):
    """Hypercalls, with a buffer at ``address`` that Xen may touch during the call."""

    address: int

    def write(self, offset: int, data: bytes) -> int:
        """Put bytes into the buffer; their address."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the buffer."""
        ...

    def call(self, number: int, *arguments: int) -> int:
        """One hypercall. Raises OSError with Xen's own errno."""
        ...


class Privcmd:
    """The way into Xen: the ``Gate`` of this machine. Not for two threads at once: there is one buffer.

    Raises HypervisorError if it is not open.
    """

    def __init__(self, device: Path = DEVICE, buffers: Path = BUFFERS) -> None:
        try:
            self._file = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                memory = os.open(buffers, os.O_RDWR | os.O_CLOEXEC)
                try:
                    # Pages that the kernel neither moves nor swaps: Xen reads and writes them during the call.
                    self._memory = mmap.mmap(memory, _BUFFER_BYTES, mmap.MAP_SHARED)
                finally:
                    os.close(memory)
            except OSError:
                os.close(self._file)
                raise
        except OSError as error:
            raise HypervisorError(
                f"{error.filename or device}: {error.strerror}",
                advice="Run Ringfence in Dom0, as root, with the kernel's module xen-privcmd loaded.",
            ) from error
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        """Where the buffer stands."""

    def write(self, offset: int, data: bytes) -> int:
        """Put bytes into the buffer; their address. Raises ValueError if there is no room for them."""
        self._memory[offset : offset + len(data)] = data
        return self.address + offset

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the buffer."""
        return self._memory[offset : offset + size]

    def call(self, number: int, *arguments: int) -> int:
        """One hypercall: what it returned. Raises OSError with Xen's own errno."""
        packed = bytearray(_ARGUMENTS.pack(number, *arguments, *([0] * (5 - len(arguments)))))
        while True:
            try:
                return int(fcntl.ioctl(self._file, _HYPERCALL, packed))
            except OSError as error:
                if error.errno != errno.EINTR:
                    raise
