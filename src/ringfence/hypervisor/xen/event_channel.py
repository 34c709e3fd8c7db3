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


class EventChannel:
    """One virtual interrupt, bound. Raises HypervisorError if it cannot be, saying who has it."""

    def __init__(self, virq: int, device: Path = DEVICE) -> None:
        advice = "Run Ringfence in Dom0, as root, with the kernel's module xen-evtchn loaded."
        try:
            self.file = os.open(device, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                fcntl.ioctl(self.file, _BIND_VIRQ, bytearray(_PORT.pack(virq)))
            except OSError:
                os.close(self.file)
                raise
        except OSError as error:
            if error.errno == errno.EEXIST:
                advice = (
                    "The kernel's own driver reads the telemetry: boot Dom0 with "
                    "initcall_blacklist=xen_late_init_mcelog, or let Ringfence read /dev/mcelog, which tells less."
                )
            raise HypervisorError(f"VIRQ {virq} cannot be had: {error.strerror}", advice=advice) from error

    def take(self) -> bool:
        """Whether it has fired since the last look; it can fire again."""
        try:
            fired = os.read(self.file, _PORT.size * _AT_ONCE)
        except BlockingIOError:
            return False
        os.write(self.file, fired)
        return True
