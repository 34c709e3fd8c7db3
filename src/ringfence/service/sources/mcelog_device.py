"""/dev/mcelog: ``struct mce`` as the kernel keeps it for one reader, up to 32 of them or one per CPU.

Source: Linux arch/x86/kernel/cpu/mce/dev-mcelog.c (CONFIG_X86_MCELOG_LEGACY) and arch/x86/include/uapi/asm/mce.h. A
read wants room for the whole log, gives whole records and clears them; when the log is full, new records are discarded
and a flag is set. The first reads after boot give what ERST kept of the boot before, and erase it there at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Final, Protocol

from ringfence.errors import SourceError
from ringfence.record.binary.struct_mce import LENGTHS, StructMce
from ringfence.record.evidence import Origin, Unrecognised
from ringfence.service.sources.source import (
    CHECKPOINT_S,
    Availability,
    Emit,
    Item,
    Lost,
    Position,
    Resumption,
    emit_in_batches,
    reachable,
    readable,
)


def _ior(number: int) -> int:
    """_IOR('M', number, int): direction 2 (read) in bits 31:30, size 4 in 29:16, 'M' in 15:8 (asm-generic/ioctl.h)."""
    return 2 << 30 | 4 << 16 | ord("M") << 8 | number


GET_RECORD_LEN: Final = _ior(1)
GET_LOG_LEN: Final = _ior(2)
GETCLEAR_FLAGS: Final = _ior(3)
OVERFLOW: Final = 1 << 0
"""MCE_OVERFLOW is bit 0 of the flags."""

MAX_LOG_RECORDS: Final = 65_536
"""The kernel makes its log one record per CPU, at least 32: more is no length to believe."""

_INT = Struct("<i")


class Device(Protocol):
    """An open /dev/mcelog."""

    def fileno(self) -> int:
        """What can be polled."""

    def number(self, request: int) -> int:
        """The answer to one of the three ioctls."""

    def read(self, size: int) -> bytes:
        """Whole records. Raises BlockingIOError if there is none."""

    def close(self) -> None:
        """Give it up."""


class McelogDevice:
    """The real device."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(path, error.strerror or str(error), advice=_FORBIDDEN) from error

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def number(self, request: int) -> int:
        """The answer to an ioctl (CAP_SYS_ADMIN)."""
        (answer,) = _INT.unpack(fcntl.ioctl(self._descriptor, request, bytes(4)))
        return int(answer)

    def read(self, size: int) -> bytes:
        """Whole records."""
        return os.read(self._descriptor, size)

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)


_ABSENT = (
    "The kernel was built without CONFIG_X86_MCELOG_LEGACY (most are): the trace event mce:mce_record says the same. "
    "In Xen's Dom0 the device is made by CONFIG_XEN_MCE_LOG."
)
_FORBIDDEN = "Run as root with CAP_SYS_ADMIN; if it is busy, the mcelog daemon has opened it for itself (O_EXCL)."


@dataclass(frozen=True, slots=True)
class McelogSource:
    """Records of /dev/mcelog. Another reader of it (the mcelog daemon) takes its share of them away: see host_facts."""

    name: str = "mcelog"
    path: Path = Path("/dev/mcelog")
    clock: str = field(default="the wall clock in whole seconds when the kernel read the bank", init=False)
    resumption: Resumption = field(default=Resumption.KEPT, init=False)

    def probe(self) -> Availability:
        """Whether the device is there and may be opened."""
        return reachable(self.path, absent=_ABSENT, forbidden=_FORBIDDEN)

    async def follow(self, emit: Emit, since: Position | None = None) -> None:  # noqa: ARG002 (reading takes away)
        """What the kernel has kept, then each new record."""
        await follow_device(McelogDevice(self.path), self.name, str(self.path), emit)


async def follow_device(device: Device, name: str, file: str, emit: Emit) -> None:
    """The records of an open device, until cancelled. Raises SourceError if it does not answer as one."""
    with closing(device):
        try:
            record_bytes, records = device.number(GET_RECORD_LEN), device.number(GET_LOG_LEN)
        except OSError as error:
            raise SourceError(file, error.strerror or str(error), advice=_FORBIDDEN) from error
        if record_bytes not in LENGTHS or not 0 < records <= MAX_LOG_RECORDS:
            raise SourceError(
                file,
                f"{records} records of {record_bytes} bytes each: no known struct mce",
                advice="This kernel's structure is newer than Ringfence: use the trace event mce:mce_record.",
            )
        while True:
            items = list(_read(device, name, file, record_bytes, records))
            if items:
                await emit_in_batches(emit, name, items, None)
                await asyncio.sleep(0)
            else:
                await readable(device.fileno(), CHECKPOINT_S)


def _read(device: Device, name: str, file: str, record_bytes: int, records: int) -> Iterator[Item]:
    try:
        blob = device.read(record_bytes * records)
    except BlockingIOError:
        blob = b""
    except OSError as error:
        raise SourceError(file, error.strerror or str(error), advice="See the kernel log.") from error
    whole = len(blob) - len(blob) % record_bytes
    for at in range(0, whole, record_bytes):
        raw = blob[at : at + record_bytes]
        yield StructMce.unpack(raw).record(origin=Origin(file), raw=raw)
    if blob[whole:]:
        yield Unrecognised(Origin(file), blob[whole:], "bytes after the last whole struct mce")
    if device.number(GETCLEAR_FLAGS) & OVERFLOW:
        why = f"the kernel's log of {records} records was full: it keeps the first and discards the rest"
        yield Lost(name, 1, False, "machine check records", why)
