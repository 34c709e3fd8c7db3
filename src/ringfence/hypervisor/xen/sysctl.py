"""What Dom0 may ask of the whole host: domains, pages, CPUs, by hypercall 35.

Layouts: xen/include/public/sysctl.h and domctl.h. What is used of them is the same from 4.17 to 4.21, under two
interface versions (0x15 up to 4.20, 0x16 in 4.21); run against 4.17 and 4.20, the others were read only.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.xen.privcmd import SYSCTL, Gate
from ringfence.world.identities import CpuId, DomainId, Frame

VERSIONS: Final = (0x15, 0x16)
"""XEN_SYSCTL_INTERFACE_VERSION of 4.17 to 4.20, and of 4.21."""

_SYSCTL_BYTES: Final = 8 + 128
_HEAD: Final = Struct("<II")
_LIST: Final = Struct("<H2xIQI4x")
_DOMAIN: Final = Struct("<HHI7QIII16sIB7xII")
_OFFLINE: Final = Struct("<IIIxxxxQ")
_STATUS: Final = Struct("<I")
_HOTPLUG: Final = Struct("<II")
_CONSOLE: Final = Struct("<BBHIQI4x")
_PHYSINFO: Final = Struct("<IIIIIIIIIIQQQQQ8I")

_BUFFER_AT: Final = 4096
"""Where in the buffer the structures begin that the hypercall's own points to."""
MOST_CONSOLE_BYTES: Final = 1 << 17
"""Of Xen's console ring, which has 16 KiB and more (conring_size)."""
MOST_DOMAINS: Final = 2048
"""Asked for at once."""


class Command(IntEnum):
    """XEN_SYSCTL_*."""

    READCONSOLE = 1
    PHYSINFO = 3
    GETDOMAININFOLIST = 6
    CPU_HOTPLUG = 11
    PAGE_OFFLINE_OP = 14


class PageCommand(IntEnum):
    """sysctl_page_*."""

    OFFLINE = 1
    ONLINE = 2
    QUERY = 3


class PageStatus(IntFlag):
    """PG_OFFLINE_*: what became of an offlining. The owner stands in the upper half."""

    INVALID = 0x1
    OFFLINED = 0x2
    PENDING = 0x4
    FAILED = 0x8
    AGAIN = 0x10
    XENPAGE = 0x100
    DOM0PAGE = 0x200
    ANONYMOUS = 0x400
    NOT_CONV_RAM = 0x800
    OWNED = 0x1000
    BROKEN = 0x2000


class QueryStatus(IntFlag):
    """PG_OFFLINE_STATUS_*: what a query answers."""

    OFFLINED = 0x2
    ONLINE = 0x4
    OFFLINE_PENDING = 0x8
    BROKEN = 0x10


OWNER_SHIFT: Final = 16
"""PG_OFFLINE_OWNER_SHIFT."""


class DomainFlag(IntFlag):
    """XEN_DOMINF_*."""

    DYING = 0x1
    HVM_GUEST = 0x2
    SHUTDOWN = 0x4
    PAUSED = 0x8
    BLOCKED = 0x10
    RUNNING = 0x20
    DEBUGGED = 0x40
    XS_DOMAIN = 0x80
    HAP = 0x100


SHUTDOWN_SHIFT: Final = 16


class Shutdown(IntEnum):
    """SHUTDOWN_*: why a domain that has shut down did so (xen/include/public/sched.h)."""

    POWEROFF = 0
    REBOOT = 1
    SUSPEND = 2
    CRASH = 3
    WATCHDOG = 4
    SOFT_RESET = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainInfo:
    """struct xen_domctl_getdomaininfo, as far as it is used. ``handle`` is the UUID."""

    domain: DomainId
    flags: DomainFlag
    pages: int
    vcpus: int
    handle: bytes
    emulation: int

    @property
    def shutdown(self) -> int:
        """Why it has shut down, if its flags say that it has: a ``Shutdown``."""
        return int(self.flags) >> SHUTDOWN_SHIFT & 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysInfo:
    """struct xen_sysctl_physinfo, as far as it is used."""

    threads_per_core: int
    cores_per_socket: int
    cpus: int
    total_pages: int
    free_pages: int
    has_shadow: bool
    """XEN_SYSCTL_PHYSCAP_shadow: page tables are shadowed, by which alone a PV guest's writes can be followed."""


_SHADOW: Final = 1 << 4


class Sysctl:
    """Hypercall 35, in the version of the interface that this Xen speaks. Raises HypervisorError if it speaks none."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.version = self._agreed()

    def _agreed(self) -> int:
        for version in VERSIONS:
            try:
                self._call(Command.PHYSINFO, bytes(_PHYSINFO.size), version)
            except OSError as error:
                if error.errno != errno.EACCES:
                    why = f"Xen refuses sysctl: {error.strerror}"
                    raise HypervisorError(why, advice="Run Ringfence as root in Dom0.") from error
                continue
            return version
        raise HypervisorError(
            "this Xen speaks another version of the sysctl interface than 0x15 (4.17 to 4.20) and 0x16 (4.21)",
            advice="Use a version of Ringfence that knows this Xen.",
        )

    def _call(self, command: Command, body: bytes, version: int) -> bytes:
        at = self._gate.write(0, (_HEAD.pack(command, version) + body).ljust(_SYSCTL_BYTES, b"\0"))
        self._gate.call(SYSCTL, at)
        return self._gate.read(_HEAD.size, len(body))

    def domains(self, first: int = 0) -> Iterator[DomainInfo]:
        """The domains from this number on."""
        at = self._gate.write(_BUFFER_AT, b"")
        while True:
            body = _LIST.pack(first, MOST_DOMAINS, at, 0)
            *_, count = _LIST.unpack(self._call(Command.GETDOMAININFOLIST, body, self.version))
            found = self._gate.read(_BUFFER_AT, count * _DOMAIN.size)
            infos = [_domain(found, each * _DOMAIN.size) for each in range(count)]
            yield from infos
            if count < MOST_DOMAINS:
                return
            first = infos[-1].domain + 1

    def physinfo(self) -> PhysInfo:
        """The machine."""
        found = _PHYSINFO.unpack(self._call(Command.PHYSINFO, bytes(_PHYSINFO.size), self.version))
        return PhysInfo(
            threads_per_core=found[0], cores_per_socket=found[1], cpus=found[2], total_pages=found[10],
            free_pages=found[11], has_shadow=bool(found[7] & _SHADOW),
        )  # fmt: skip

    def page(self, command: PageCommand, frame: Frame) -> int:
        """Offline, online or query a page: the status with its owner. Raises OSError with Xen's errno."""
        at = self._gate.write(_BUFFER_AT, _STATUS.pack(0))
        self._call(Command.PAGE_OFFLINE_OP, _OFFLINE.pack(command, frame, frame, at), self.version)
        (status,) = _STATUS.unpack(self._gate.read(_BUFFER_AT, _STATUS.size))
        return int(status)

    def console(self) -> str:
        """What Xen's console ring holds now; nothing is taken out of it. Raises OSError with Xen's errno."""
        at = self._gate.write(_BUFFER_AT, b"")
        body = _CONSOLE.pack(0, 0, 0, 0, at, MOST_CONSOLE_BYTES)
        *_, count = _CONSOLE.unpack(self._call(Command.READCONSOLE, body, self.version))
        return self._gate.read(_BUFFER_AT, min(count, MOST_CONSOLE_BYTES)).decode("utf-8", "backslashreplace")

    def cpu(self, cpu: CpuId, *, online: bool) -> None:
        """Take a CPU out of use, or into use. Raises OSError with Xen's errno: EBUSY is to be tried again."""
        self._call(Command.CPU_HOTPLUG, _HOTPLUG.pack(cpu, 0 if online else 1), self.version)


def _domain(found: bytes, at: int) -> DomainInfo:
    number, _, flags, pages, *rest = _DOMAIN.unpack_from(found, at)
    return DomainInfo(
        domain=DomainId(number),
        flags=DomainFlag(flags),
        pages=pages,
        vcpus=rest[6],
        handle=rest[9],
        emulation=rest[12],
    )
