"""Being told by Xen: a virtual interrupt as something to read from /dev/xen/evtchn.

Source: Linux include/uapi/xen/evtchn.h and drivers/xen/evtchn.c: a read gives the numbers of the ports that fired and
are masked since; writing a number back unmasks it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from struct import Struct
from typing import Final

from ringfence.errors import HypervisorError

DEVICE: Final = Path("/dev/xen/evtchn")

_BIND_VIRQ: Final = 0x44500
"""IOCTL_EVTCHN_BIND_VIRQ: _IOC(_IOC_NONE, 'E', 0, sizeof(unsigned int))."""
_PORT: Final = Struct("<I")
_AT_ONCE: Final = 64

_TAKEN: Final = frozenset({errno.EEXIST, errno.EBUSY})
"""What a second binder is told: EEXIST by Xen (xen/common/event_channel.c, evtchn_bind_virq)."""
_ADVICE_TAKEN: Final = (
    "The kernel's own driver reads the telemetry: boot Dom0 with initcall_blacklist=xen_late_init_mcelog, or let "
    "Ringfence read /dev/mcelog, which tells less."
)


class VirqTakenError(HypervisorError):
    """Somebody else has the virtual interrupt: in Dom0 the kernel's own driver (drivers/xen/mcelog.c)."""


class EventChannel:
    """One virtual interrupt, bound.

    Raises VirqTakenError if somebody has it, for each has one binder at most; HypervisorError if it cannot be had.
    """

    def __init__(self, virq: int, device: Path = DEVICE) -> None:
        try:
            self.file = os.open(device, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                fcntl.ioctl(self.file, _BIND_VIRQ, bytearray(_PORT.pack(virq)))
            except OSError:
                os.close(self.file)
                raise
        except OSError as error:
            why = f"VIRQ {virq} cannot be had: {error.strerror}"
            if error.errno in _TAKEN:
                raise VirqTakenError(why, advice=_ADVICE_TAKEN) from error
            advice = "Run Ringfence in Dom0, as root, with the kernel's module xen-evtchn loaded."
            raise HypervisorError(why, advice=advice) from error

    def close(self) -> None:
        """Give it up: somebody else can have it."""
        os.close(self.file)

    def take(self) -> bool:
        """Whether it has fired since the last look; it can fire again."""
        try:
            fired = os.read(self.file, _PORT.size * _AT_ONCE)
        except BlockingIOError:
            return False
        os.write(self.file, fired)
        return True


def is_taken(virq: int, device: Path = DEVICE) -> bool:
    """Whether somebody else has a virtual interrupt; False if that cannot be told."""
    try:
        EventChannel(virq, device).close()
    except HypervisorError as error:
        return isinstance(error, VirqTakenError)
    return False


class Silence:
    """In the place of a virtual interrupt that somebody else has: it never fires."""

    def __init__(self) -> None:
        self.file, self._open = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def take(self) -> bool:
        """Never."""
        return False
