"""What a source of evidence is to the service: it says whether it is there, it follows, it counts what it missed.

A source hands over *batches*. A batch and its position are to be journaled in one transaction: then a restart that
resumes from the last journaled position neither loses nor repeats anything that the source can still give. How far
that holds is each source's ``resumption``.

A source may block in a read: it is followed in a thread of its own (``own_thread``).

Bounds: ``emit`` may wait, and while it waits the source reads nothing more. What then overflows is a buffer of the
kernel's, of a fixed size, whose overrun the kernel reports and the source hands on as ``Lost``. A source itself holds
one batch at a time, and what an unfinished burst of log lines needs (``text_assembly.MAX_HELD_LINES``).
"""

from __future__ import annotations

import errno
import os
from asyncio import get_running_loop, timeout
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NewType, Protocol, TypeVar, runtime_checkable

import msgspec

from ringfence.arch.cpuid import Vendor
from ringfence.arch.mci_status import DEFERRED, PCC, UC
from ringfence.errors import FormatError
from ringfence.record.evidence import ClaimedSeverity, Record, Unrecognised
from ringfence.record.repeats import Repeats

Position = NewType("Position", str)
"""How far a source was read, as JSON: opaque to all but the source that made it."""

MAX_BATCH_ITEMS: Final = 512
"""The most items in one batch: more would make a reader that only wants the next decision wait for the whole."""

CHECKPOINT_S: Final = 60.0
"""A source that reads on and finds no evidence says how far it is at most so often, in an empty batch."""


_UNCORRECTED: Final = UC.mask | PCC.mask


class Presence(StrEnum):
    """Whether a source can be read here and now."""

    PRESENT = "present"
    ABSENT = "absent"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a source can be read, ``why`` not (or what was found), and what the operator can do about it."""

    presence: Presence
    why: str
    advice: str = ""


class Resumption(StrEnum):
    """What a restart costs.

    ``position``: nothing, as long as what the position names is still kept. ``kept``: what comes while nobody reads is
    kept by the kernel, but reading takes it away: what was read and not yet journaled at a crash is gone.
    ``none``: what comes while nobody reads is not seen.
    """

    POSITION = "position"
    KEPT = "kept"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Lost:
    """Evidence, or lines that may have been evidence, that a source had and could not give.

    ``at_least`` of them are known to be lost; if ``exact``, no more than that. ``unit`` is what was counted.
    """

    source: str
    at_least: int
    exact: bool
    unit: str
    why: str


Item = Record | Unrecognised | Lost | Repeats
"""What a source hands over. ``Repeats`` come of a source that can tell a storm as one (``aggregation``)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a source found, in its order, and how far that is. Journal both at once, or neither.

    ``position`` is None for a source that has none; an empty batch only says how far was read.
    """

    source: str
    items: tuple[Item, ...]
    position: Position | None = None

    @property
    def is_pressing(self) -> bool:
        """Whether any of it may be an uncorrected error: such a batch waits for no other (``lanes``)."""
        return any(isinstance(item, Record) and may_be_uncorrected(item) for item in self.items)


def may_be_uncorrected(record: Record) -> bool:
    """Whether a record may be of an uncorrected error, by a glance at its bits or its claim: true where in doubt.

    UC, PCC and AMD's Deferred: SDM vol. 3B, IA32_MCi_STATUS; APM vol. 2, MCA_STATUS. Bit 44 belongs to Intel's count.
    """
    status, memory = record.registers.status, record.memory
    if status is not None:
        held = _UNCORRECTED if record.vendor is Vendor.INTEL else _UNCORRECTED | DEFERRED.mask
        return bool(status & held)
    severity = memory.severity if memory is not None else None
    return severity not in {ClaimedSeverity.CORRECTED, ClaimedSeverity.INFORMATIONAL}


Emit = Callable[[Batch], Awaitable[None]]
"""Takes a batch, and may wait: ``asyncio.Queue(maxsize=n).put`` is one."""


@runtime_checkable
class Source(Protocol):
    """One source of evidence. ``clock`` says what the stamps of its records mean."""

    @property
    def name(self) -> str:
        """The source's name in the journal and the configuration."""

    @property
    def clock(self) -> str:
        """Which clock ``Record.time`` and ``Record.stamp`` come from, and how far to trust it."""

    @property
    def resumption(self) -> Resumption:
        """What a restart costs."""

    def probe(self) -> Availability:
        """Whether the source can be read here. Reads as little as possible and changes nothing."""

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """Hand over what there is since ``since`` (None: all that is kept) and go on until cancelled.

        Raises SourceError if the source cannot be opened, FormatError if ``since`` is none of its positions.
        """


_Shape = TypeVar("_Shape")


def as_position(shape: object) -> Position:
    """A dataclass of numbers and texts as a position."""
    return Position(msgspec.json.encode(shape).decode())


def of_position(text: Position, kind: type[_Shape]) -> _Shape:
    """The dataclass that ``as_position`` was given. Raises FormatError if the text is no such one."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise FormatError(f"no position of this source: {text[:80]!r}: {error}") from None


def reachable(path: Path, *, absent: str, forbidden: str, mode: int = os.R_OK) -> Availability:
    """Whether a file or directory is there and may be opened, with the advice for either failure.

    Asked by opening, because root may be refused too (lockdown, a container's device rules).
    """
    try:
        flags = os.O_RDONLY if mode == os.R_OK else os.O_RDWR
        if path.is_dir():
            os.listdir(path)  # noqa: PTH208 (the cheapest question whether a directory may be read)
        else:
            os.close(os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        why = f"{path}: {error.strerror}"
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO}:
            return Availability(Presence.ABSENT, why, absent)
        return Availability(Presence.FORBIDDEN, why, forbidden)
    return Availability(Presence.PRESENT, f"{path} can be read")


async def readable(descriptor: int, wait_s: float | None) -> bool:
    """Wait until a descriptor that can be polled has something to read; False after ``wait_s``.

    Raises PermissionError for a regular file, which epoll does not take.
    """
    loop = get_running_loop()
    ready = loop.create_future()

    def done() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, done)
    try:
        async with timeout(wait_s):
            await ready
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


async def emit_in_batches(emit: Emit, source: str, items: list[Item], position: Position | None) -> None:
    """Hand over items of which the source cannot take a part back: as one batch, for the position holds for all.

    Without a position they are cut into batches of ``MAX_BATCH_ITEMS``.
    """
    if position is not None:
        await emit(Batch(source, tuple(items), position))
        return
    for start in range(0, len(items), MAX_BATCH_ITEMS):
        await emit(Batch(source, tuple(items[start : start + MAX_BATCH_ITEMS])))
