"""How corrected errors spread over the parts of a machine: sightings, and the distinct places that they hit.

The same physical cell is one spot however often it errs, so that a storm from one cell weighs no more than its place.
Memory is bounded: at most ``SPOTS_KEPT`` spots are told apart; errors elsewhere are counted, exactly, as ``beyond``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ringfence.decode.meaning import UnitKind
from ringfence.quick import quick
from ringfence.record.evidence import Location
from ringfence.world.identities import CpuId, Frame

SPOTS_KEPT: Final = 64
"""Of one suspect: a fault of a row, a column or a bank shows its shape in a handful, and no rule asks for more than a
few. An uncorrected error must not wait for the naming of suspects: with as many this takes some milliseconds."""

NOWHERE: Final = Location()


@quick
@dataclass(frozen=True, slots=True)
class Sighting:
    """Corrected errors of a suspect, reported together, ``count`` of them at ``at_ms`` on the host's clock.

    ``syndrome`` tells which bits were wrong, in the controller's own code. ``unit`` is the hardware unit that reported,
    as the decoder names it; ``kind`` what sort of unit that is.
    """

    at_ms: int
    count: int
    syndrome: int | None = None
    frame: Frame | None = None
    cpu: CpuId | None = None
    location: Location = NOWHERE
    unit: str = ""
    kind: UnitKind = UnitKind.OTHER


@dataclass(frozen=True, slots=True)
class Spot:
    """One place, as finely as the evidence tells: sightings with the same spot come from the same cell."""

    location: Location
    syndrome: int | None = None
    frame: Frame | None = None
    cpu: CpuId | None = None
    unit: str = ""
    kind: UnitKind = UnitKind.OTHER


@dataclass(frozen=True, slots=True)
class Hits:
    """How often a spot was seen: ``errors`` in ``reports`` reports, the first and the last at these times."""

    errors: int
    reports: int
    first_ms: int
    last_ms: int


@dataclass(slots=True)
class Spread:
    """Where errors came from. ``errors`` is every one of them; ``beyond`` those whose spot is not told apart."""

    spots: dict[Spot, Hits]
    errors: int = 0
    beyond: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every error's spot is known."""
        return not self.beyond


Apart = tuple[Location, int | None, Frame | None, CpuId | None, str, UnitKind]
"""The values of a spot, for who only compares many."""


def apart(seen: Sighting) -> Apart:
    """What tells the place of a sighting apart. In memory the CPU that polled the bank says nothing of the place."""
    if seen.kind is UnitKind.MEMORY:
        return seen.location, seen.syndrome, seen.frame, None, "", seen.kind
    return seen.location, None, seen.frame, seen.cpu, seen.unit, seen.kind


def spot_of(seen: Sighting) -> Spot:
    """The place of a sighting."""
    return Spot(*apart(seen))


def fold(spread: Spread, seen: Sighting) -> Spread:
    """Add a sighting, in place; returns the same spread."""
    spread.errors += seen.count
    spot = spot_of(seen)
    known = spread.spots.get(spot)
    if known is not None:
        spread.spots[spot] = Hits(
            known.errors + seen.count,
            known.reports + 1,
            min(known.first_ms, seen.at_ms),
            max(known.last_ms, seen.at_ms),
        )
    elif len(spread.spots) < SPOTS_KEPT:
        spread.spots[spot] = Hits(seen.count, 1, seen.at_ms, seen.at_ms)
    else:
        spread.beyond += seen.count
    return spread


def spread_of(sightings: Iterable[Sighting]) -> Spread:
    """How these sightings spread: as ``fold`` of each, in a third of the time where there are hundreds."""
    spread = Spread({})
    counted: dict[Apart, list[int]] = {}
    # Most sightings of a part name one and the same location, whose values need not be gone through for each.
    here: Location | None = None
    at: dict[tuple[object, ...], list[int]] = {}
    for seen in sightings:
        count, at_ms = seen.count, seen.at_ms
        spread.errors += count
        if seen.location is not here:
            here, at = seen.location, {}
        key = apart(seen)
        known = at.get(key[1:]) or counted.get(key)
        if known is not None:
            known[0] += count
            known[1] += 1
            known[2], known[3] = min(known[2], at_ms), max(known[3], at_ms)
        elif len(counted) < SPOTS_KEPT:
            known = counted[key] = [count, 1, at_ms, at_ms]
        else:
            spread.beyond += count
            continue
        at[key[1:]] = known
    spread.spots.update((Spot(*key), Hits(*hits)) for key, hits in counted.items())
    return spread


# --- the parts of a machine, as names ---------------------------------------------------------------------------------


NAMES_KEPT: Final = 1024
"""Modules, banks, controllers: more than a host has. The name of one is asked for a dozen times an error."""


@lru_cache(maxsize=NAMES_KEPT)
def _named(*parts: tuple[str, int | None]) -> str:
    return " ".join(f"{name} {number}" for name, number in parts if number is not None)


def dimm_of(location: Location) -> str | None:
    """The name of the module: its label, or the numbers down to the slot; None if the channel is not known."""
    if location.label:
        return location.label
    if location.channel is None:
        return None
    return _named(
        ("socket", location.socket),
        ("controller", location.controller),
        ("channel", location.channel),
        ("slot", location.slot),
    )


def rank_of(location: Location) -> str | None:
    """The name of the rank (chip select) within its module; None if the module is not known."""
    dimm = dimm_of(location)
    if dimm is None:
        return None
    rank = location.rank if location.rank is not None else location.csrow
    return dimm if rank is None else f"{dimm} rank {rank}"


def channel_of(location: Location) -> str | None:
    """The name of the memory channel; None if it has no number."""
    if location.channel is None:
        return None
    return _named(("socket", location.socket), ("controller", location.controller), ("channel", location.channel))


def controller_of(location: Location) -> str | None:
    """The name of the memory controller; None if it has no number."""
    if location.controller is None:
        return None
    return _named(("socket", location.socket), ("controller", location.controller))


def bank_of(location: Location) -> str | None:
    """The name of the bank within its rank; None if it is not known."""
    rank = rank_of(location)
    if rank is None or location.bank is None:
        return None
    return f"{rank} {_named(('bank group', location.bank_group), ('bank', location.bank))}"


def row_of(location: Location) -> str | None:
    """The name of the row within its bank; None if it is not known."""
    bank = bank_of(location)
    return None if bank is None or location.row is None else f"{bank} row {location.row:#x}"


def column_of(location: Location) -> str | None:
    """The name of the column within its bank; None if it is not known."""
    bank = bank_of(location)
    return None if bank is None or location.column is None else f"{bank} column {location.column:#x}"


def cell_of(location: Location) -> str | None:
    """The name of the place where row and column cross; None if it is not known."""
    row = row_of(location)
    return None if row is None or location.column is None else f"{row} column {location.column:#x}"


def bits_of(spot: Spot) -> str | None:
    """Which bits of the rank's word were wrong, as exactly as the evidence tells; None if it does not."""
    location = spot.location
    if location.dq is not None:
        return f"DQ {location.dq}"
    if location.device is not None:
        return f"device {location.device}"
    syndrome = spot.syndrome if spot.syndrome is not None else location.syndrome
    return None if syndrome is None else f"syndrome {syndrome:#x}"
