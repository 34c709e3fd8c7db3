"""EDAC's counters in sysfs: what they have grown by since the last look becomes one counted record per DIMM and kind.

Source: Linux Documentation/ABI/testing/sysfs-devices-edac, drivers/edac/edac_mc_sysfs.c: mcN/dimmM (or rankM) with
dimm_ce_count, dimm_ue_count, dimm_label, dimm_location; mcN/ce_count, ue_count, ce_noinfo_count, ue_noinfo_count and
seconds_since_reset; older kernels have mcN/csrowM/chK_ce_count, chK_dimm_label and csrowM/ue_count instead. They say
neither when nor where in the DIMM; they lose nothing, so they show what other sources lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Format,
    Location,
    MemoryReport,
    Origin,
    Record,
)
from ringfence.service.sources.joining import Interval
from ringfence.service.sources.kmsg import current_boot
from ringfence.service.sources.source import (
    Availability,
    Batch,
    Emit,
    Item,
    Lost,
    Position,
    Presence,
    Resumption,
    as_position,
    of_position,
)

POLL_S: Final = 10.0
"""The counters are a check on other sources, not the way in: EDAC's own drivers poll every second."""

_CORRECTED, _UNCORRECTED = ClaimedSeverity.CORRECTED, ClaimedSeverity.RECOVERABLE


@dataclass(frozen=True, slots=True)
class _Counter:
    """One file: what it counts, and the file with the DIMM's label (relative to the controller's directory)."""

    pattern: str
    severity: ClaimedSeverity
    label: str | None


_DIMM_COUNTERS: Final = (
    _Counter("dimm*/dimm_ce_count", _CORRECTED, "dimm_label"),
    _Counter("dimm*/dimm_ue_count", _UNCORRECTED, "dimm_label"),
    _Counter("rank*/dimm_ce_count", _CORRECTED, "dimm_label"),
    _Counter("rank*/dimm_ue_count", _UNCORRECTED, "dimm_label"),
)
_CSROW_COUNTERS: Final = (
    _Counter("csrow*/ch[0-9]*_ce_count", _CORRECTED, "_dimm_label"),
    _Counter("csrow*/ue_count", _UNCORRECTED, None),
)
_CONTROLLER_COUNTERS: Final = (
    _Counter("ce_noinfo_count", _CORRECTED, None),
    _Counter("ue_noinfo_count", _UNCORRECTED, None),
)
"""Errors of which the driver does not know the DIMM; the controller's own ce_count has these and all of the others'."""


@dataclass(frozen=True, slots=True)
class _Position:
    boot: str
    at_s: float
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """A counter as it stands: its file, its value, what it counts and of which DIMM."""

    file: str
    count: int
    severity: ClaimedSeverity
    controller: int
    label: str | None


def read_counters(root: Path) -> Iterator[Reading]:
    """Every counter of every controller, the finest that the kernel has: an error is counted in one of them."""
    for controller in sorted(root.glob("mc[0-9]*"), key=lambda path: (len(path.name), path.name)):
        per_dimm = any(controller.glob("dimm*/dimm_ce_count")) or any(controller.glob("rank*/dimm_ce_count"))
        for counter in (*(_DIMM_COUNTERS if per_dimm else _CSROW_COUNTERS), *_CONTROLLER_COUNTERS):
            for file in sorted(controller.glob(counter.pattern)):
                try:
                    count = int(file.read_text())
                except (OSError, ValueError):
                    # The controller has just gone: the next look does not find it.
                    continue
                label = _label(file, counter)
                number = int(controller.name[2:])
                yield Reading(str(file.relative_to(root)), count, counter.severity, number, label)


def _label(file: Path, counter: _Counter) -> str | None:
    if counter.label is None:
        return None
    name = counter.label if counter.label[0] != "_" else file.name.split("_")[0] + counter.label
    try:
        return file.with_name(name).read_text().strip() or None
    except OSError:
        return None


_ABSENT = "No EDAC driver has this machine's memory controller: load one (modprobe), or firmware keeps it to itself."


@dataclass(frozen=True, slots=True)
class EdacSource:
    """The growth of EDAC's counters. ``now`` gives seconds since 1970."""

    name: str = "edac"
    root: Path = Path("/sys/devices/system/edac/mc")
    poll_s: float = POLL_S
    now: Callable[[], float] = time.time
    boot_id: Callable[[], str] = current_boot
    clock: str = field(
        default="none: a difference arose between two looks, whose times are its interval; the record has the latter",
        init=False,
    )
    resumption: Resumption = field(default=Resumption.POSITION, init=False)

    def probe(self) -> Availability:
        """Whether a memory controller is registered with EDAC."""
        found = sorted(self.root.glob("mc[0-9]*"))
        if not found:
            return Availability(Presence.ABSENT, f"{self.root} has no memory controller", _ABSENT)
        return Availability(Presence.PRESENT, f"{len(found)} memory controllers in {self.root}")

    async def follow(self, emit: Emit, since: Position | None = None) -> None:
        """The differences to ``since`` (without it: all errors since the driver was loaded), then each new one."""
        position = of_position(since, _Position) if since is not None else None
        while True:
            items, now = self.look(position)
            if items or position is None:
                await emit(Batch(self.name, tuple(items), as_position(now)))
            # A look that found nothing still narrows the interval of the next difference.
            position = now
            await asyncio.sleep(self.poll_s)

    def look(self, before: _Position | None) -> tuple[list[Item], _Position]:
        """What the counters have grown by, and how they stand."""
        items: list[Item] = []
        at_s, boot = self.now(), self.boot_id()
        counts = {}
        # With a boot every counter begins anew.
        earlier = before.counts if before is not None and before.boot == boot else {}
        for reading in read_counters(self.root):
            counts[reading.file] = reading.count
            known = earlier.get(reading.file, 0)
            if reading.count < known:
                why = f"{reading.file} was {known} and is {reading.count}: reset, or the driver was loaded anew"
                items.append(Lost(self.name, 0, False, "counted errors", why))
                known = 0
            if reading.count > known:
                items.append(self._record(reading, known, before.at_s if before is not None else None, at_s))
        return items, _Position(boot, at_s, counts)

    def _record(self, reading: Reading, known: int, since_s: float | None, at_s: float) -> Record:
        origin = Origin(str(self.root / reading.file))
        text = f"{reading.file}: {known} -> {reading.count}"
        return Record(
            origin=origin,
            format=Format.EDAC,
            raw=text.encode(),
            time=at_s,
            stamp=f"{since_s or 0.0:.3f}/{at_s:.3f}",
            count=reading.count - known,
            memory=MemoryReport(
                severity=reading.severity,
                location=Location(controller=reading.controller, label=reading.label),
            ),
            claims=(Claim(ClaimKind.EDAC, text, origin),),
        )


def interval(record: Record) -> Interval | None:
    """Between which looks a counter's difference arose (for ``joining.Sighting``); None for any other record.

    A first look has no look before it: its interval begins in 1970.
    """
    since, found, until = (record.stamp or "").partition("/")
    if not found or record.format is not Format.EDAC:
        return None
    try:
        return Interval(float(since), float(until))
    except ValueError:
        return None
