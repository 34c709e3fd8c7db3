"""Trace events as a source: a private instance of tracefs, whose per-CPU pages are read as they are.

Source: Linux Documentation/trace/ftrace.rst ("Instances", ``buffer_percent``, ``trace_pipe_raw``) and events.rst. The
instance is Ringfence's own, so that neither rasdaemon's reading nor anybody's tracing takes events away. It is left in
place when the service stops: the kernel goes on collecting, and the next start reads what came meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.errors import FormatError, SourceError
from ringfence.record.evidence import Origin, Unrecognised
from ringfence.service.sources.source import (
    CHECKPOINT_S,
    Availability,
    Emit,
    Item,
    Lost,
    Position,
    Presence,
    Resumption,
    emit_in_batches,
    reachable,
)
from ringfence.service.sources.trace_events import EVENTS, Build, Occurrence, WantedEvent, evidence
from ringfence.service.sources.trace_format import (
    MAX_FORMAT_BYTES,
    EventFormat,
    PageFormat,
    parse_event,
    parse_header_page,
)
from ringfence.service.sources.trace_pages import read_page

PLACES: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
"""Where tracefs is mounted: by itself, or (before 4.1, and still automatically) below debugfs."""

BUFFER_KIB_PER_CPU: Final = 256
"""Some 1500 events of a CPU: a storm of 10,000 a second from one CPU may wait 150 ms for the reader. The kernel's own
default is 1408 KiB per CPU, which is 700 MB on 512 CPUs."""

_PAGES_PER_TURN: Final = 16
"""So many pages of one CPU are read before the next CPU's turn, so that a storm on one hides nothing on others."""

CLOCK: Final = "mono"
"""CLOCK_MONOTONIC, which a program can read too, and which NMIs may use."""

_ABSENT = "Mount it: mount -t tracefs nodev /sys/kernel/tracing. The kernel needs CONFIG_FTRACE and event tracing."
_FORBIDDEN = "Run as root (tracefs is root's); kernel lockdown in confidentiality mode forbids it to root too."


def find_tracefs(places: tuple[Path, ...] = PLACES) -> Path | None:
    """The first place where tracefs with instances (Linux 3.10) is mounted."""
    return next((place for place in places if (place / "instances").is_dir()), None)


def remove_instance(root: Path, name: str = "ringfence") -> None:
    """Give the instance and its buffers back to the kernel. Raises SourceError if it is in use."""
    try:
        (root / "instances" / name).rmdir()
    except OSError as error:
        raise SourceError(root, str(error), advice="Stop the service first.") from error


@dataclass(frozen=True, slots=True)
class _Tracing:
    """An instance that is set up: its directory, the page's format, and by event id what to make of it."""

    instance: Path
    page: PageFormat
    events: dict[int, tuple[EventFormat, Build]]


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_FORMAT_BYTES).decode("ascii", "replace")


def _there(root: Path, wanted: WantedEvent) -> Path | None:
    """The directory of an event, in whichever system this kernel has it."""
    places = (root / "events" / system / wanted.name for system in wanted.systems)
    return next((place for place in places if (place / "format").is_file()), None)


def set_up(root: Path, name: str, events: tuple[WantedEvent, ...], buffer_kib: int) -> _Tracing:
    """Make the instance if it is not there, and enable the events in it. Raises SourceError.

    An instance that is there keeps its clock and its buffers: to set either empties them.
    """
    instance = root / "instances" / name
    try:
        if not instance.is_dir():
            instance.mkdir()
            (instance / "buffer_size_kb").write_text(str(buffer_kib))
        if f"[{CLOCK}]" not in _text(instance / "trace_clock"):
            (instance / "trace_clock").write_text(CLOCK)
        # Wake the reader for a single event, not for a buffer that is half full (the default since 5.0).
        with contextlib.suppress(FileNotFoundError):
            (instance / "buffer_percent").write_text("0")
        found = {}
        for wanted in events:
            place = _there(instance, wanted)
            if place is None:
                continue
            form = parse_event(_text(place / "format"), place.parent.name)
            found[form.id] = (form, wanted.build)
            if (place / "enable").is_file():
                (place / "enable").write_text("1")
        (instance / "tracing_on").write_text("1")
        header = instance / "events" / "header_page"
        page = parse_header_page(_text(header if header.is_file() else root / "events" / "header_page"))
    except (OSError, FormatError) as error:
        raise SourceError(instance, str(error), advice=_FORBIDDEN) from error
    return _Tracing(instance, page, found)


def _wall_of_boot() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class TracefsSource:
    """mce_record, mc_event, memory_failure_event, extlog_mem_event, aer_event and non_standard_event of this kernel."""

    name: str = "tracefs"
    places: tuple[Path, ...] = PLACES
    instance: str = "ringfence"
    events: tuple[WantedEvent, ...] = EVENTS
    buffer_kib: int = BUFFER_KIB_PER_CPU
    wall_of_boot: Callable[[], float] = _wall_of_boot
    clock: str = field(
        default="CLOCK_MONOTONIC when the kernel traced the event (some time after the bank latched it), made wall "
        "time with the difference at reading; an mce_record has the kernel's own wall time in whole seconds",
        init=False,
    )
    resumption: Resumption = field(default=Resumption.KEPT, init=False)

    def probe(self) -> Availability:
        """Whether tracefs is there, may be used, and has any of the events."""
        root = find_tracefs(self.places)
        if root is None:
            mounted = next((place for place in self.places if place.is_dir()), None)
            if mounted is not None and not os.access(mounted, os.R_OK | os.X_OK):
                return Availability(Presence.FORBIDDEN, f"{mounted} may not be read", _FORBIDDEN)
            return Availability(Presence.ABSENT, "tracefs is not mounted", _ABSENT)
        allowed = reachable(root / "instances", absent=_ABSENT, forbidden=_FORBIDDEN)
        if allowed.presence is not Presence.PRESENT:
            return allowed
        missing = [
            f"{event.systems[0]}:{event.name} ({event.needs})" for event in self.events if not _there(root, event)
        ]
        why = f"tracefs at {root}" + (f"; this kernel has no {', '.join(missing)}" if missing else "")
        if len(missing) == len(self.events):
            return Availability(Presence.ABSENT, why, "No event of interest: the kernel log is the source to use here.")
        return Availability(Presence.PRESENT, why)

    async def follow(self, emit: Emit, since: Position | None = None) -> None:  # noqa: ARG002 (reading takes away)
        """What the instance has collected, then each new event, of all CPUs in the order of their time."""
        root = find_tracefs(self.places)
        if root is None:
            raise SourceError(self.places[0], "tracefs is not mounted", advice=_ABSENT)
        tracing = set_up(root, self.instance, self.events, self.buffer_kib)
        with contextlib.ExitStack() as stack:
            readers = dict(_opened(tracing.instance, stack))
            while True:
                items, has_more = self._read(tracing, readers)
                await emit_in_batches(emit, self.name, items, None)
                if has_more:
                    await asyncio.sleep(0)
                else:
                    await _any_readable(tuple(readers.values()), CHECKPOINT_S)

    def _read(self, tracing: _Tracing, readers: dict[int, int]) -> tuple[list[Item], bool]:
        """What the CPUs' buffers hold now, and whether one had more than its turn allows."""
        lost: list[Item] = []
        found: list[tuple[int, Item]] = []
        has_more = False
        wall = self.wall_of_boot()
        for cpu, descriptor in readers.items():
            for turn in range(_PAGES_PER_TURN):
                try:
                    page = os.read(descriptor, tracing.page.page_bytes)
                except BlockingIOError:
                    break
                if not page:
                    break
                has_more |= turn == _PAGES_PER_TURN - 1
                for time_ns, item in self._of_page(tracing, page, cpu, wall):
                    if time_ns is None:
                        lost.append(item)
                    else:
                        found.append((time_ns, item))
        found.sort(key=lambda pair: pair[0])
        return [*lost, *(item for _, item in found)], has_more

    def _of_page(self, tracing: _Tracing, raw: bytes, cpu: int, wall: float) -> Iterator[tuple[int | None, Item]]:
        """The items of a page, each with its time; without one, what is missing."""
        origin = Origin(f"trace:cpu{cpu}")
        try:
            page = read_page(raw, tracing.page)
        except FormatError as error:
            yield None, Unrecognised(origin, raw, str(error))
            return
        if page.missed:
            why = f"the trace buffer of CPU {cpu} was overwritten before it was read"
            yield None, Lost(self.name, page.missed, page.is_exact, "trace events", why)
        if page.damage is not None:
            yield None, Unrecognised(origin, raw, page.damage)
        for event in page.events:
            known = tracing.events.get(int.from_bytes(event.payload[:2], "little"))
            if known is None:
                continue
            form, build = known
            try:
                fields = form.decode(event.payload)
            except FormatError as error:
                yield event.time_ns, Unrecognised(origin, event.payload, f"{form.name}: {error}")
                continue
            seen = Occurrence(form, fields, wall + event.time_ns / 1e9, cpu, event.payload)
            yield event.time_ns, evidence(build, seen)


def _opened(instance: Path, stack: contextlib.ExitStack) -> Iterator[tuple[int, int]]:
    """The raw pipe of each CPU, offline ones too: they have a buffer, and may have filled it before."""
    for place in sorted((instance / "per_cpu").glob("cpu*"), key=lambda path: int(path.name[3:])):
        try:
            descriptor = os.open(place / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(place, str(error), advice=_FORBIDDEN) from error
        stack.callback(os.close, descriptor)
        yield int(place.name[3:]), descriptor


async def _any_readable(descriptors: tuple[int, ...], wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    for descriptor in descriptors:
        loop.add_reader(descriptor, ready.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await ready.wait()
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)
