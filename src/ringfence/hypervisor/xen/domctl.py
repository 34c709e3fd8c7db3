"""What Dom0 may ask of one domain, by hypercall 36: pausing, and whether a page is its own.

Layouts: xen/include/public/domctl.h. What is used of them is the same from 4.17 to 4.21, under four interface versions;
run against 4.17 and 4.20, the others were read only.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from struct import Struct
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.xen.privcmd import DOMCTL, Gate
from ringfence.world.identities import DOM0, DomainId, Frame

VERSIONS: Final = (0x17, 0x16, 0x15, 0x18)
"""XEN_DOMCTL_INTERFACE_VERSION of 4.19 to 4.21, 4.18, 4.17, and of what is to be 4.22."""

_HEAD: Final = Struct("<IIH6x")
_BYTES: Final = 16 + 128
_FRAMES: Final = Struct("<QQ")
_FRAME: Final = Struct("<Q")
_BUFFER_AT: Final = 4096

_NOT_ITS: Final = 0xF
"""XEN_DOMCTL_PFINFO_XTAB >> XEN_DOMCTL_PFINFO_LTAB_SHIFT."""
_TYPE_SHIFT: Final = 28


class Command(IntEnum):
    """XEN_DOMCTL_*."""

    PAUSEDOMAIN = 3
    UNPAUSEDOMAIN = 4
    GETDOMAININFO = 5
    GETPAGEFRAMEINFO3 = 61


class Domctl:
    """Hypercall 36, in the version of the interface that this Xen speaks. Raises HypervisorError if it speaks none."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.version = self._agreed()

    def _agreed(self) -> int:
        for version in VERSIONS:
            try:
                self._call(Command.GETDOMAININFO, DOM0, b"", version)
            except OSError as error:
                if error.errno != errno.EACCES:
                    why = f"Xen refuses domctl: {error.strerror}"
                    raise HypervisorError(why, advice="Run Ringfence as root in Dom0.") from error
                continue
            return version
        raise HypervisorError(
            "this Xen speaks another version of the domctl interface than those of 4.17 to 4.21",
            advice="Use a version of Ringfence that knows this Xen.",
        )

    def _call(self, command: Command, domain: DomainId, body: bytes, version: int | None = None) -> None:
        head = _HEAD.pack(command, self.version if version is None else version, domain)
        at = self._gate.write(0, (head + body).ljust(_BYTES, b"\0"))
        self._gate.call(DOMCTL, at)

    def pause(self, domain: DomainId) -> None:
        """Stop a domain's vCPUs. Raises OSError with Xen's errno."""
        self._call(Command.PAUSEDOMAIN, domain, b"")

    def unpause(self, domain: DomainId) -> None:
        """Take one pause away. Raises OSError with Xen's errno: EINVAL if it is not paused by Dom0."""
        self._call(Command.UNPAUSEDOMAIN, domain, b"")

    def owns(self, domain: DomainId, frame: Frame) -> bool:
        """Whether a frame is a PV domain's page. Of a translated domain it would ask something else: do not."""
        at = self._gate.write(_BUFFER_AT, _FRAME.pack(frame))
        try:
            self._call(Command.GETPAGEFRAMEINFO3, domain, _FRAMES.pack(1, at))
        except OSError:
            return False
        (answer,) = _FRAME.unpack(self._gate.read(_BUFFER_AT, _FRAME.size))
        return int(answer) >> _TYPE_SHIFT & 0xF != _NOT_ITS
