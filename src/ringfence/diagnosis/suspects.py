"""What is failing, as the spread of errors over the machine tells: named rules, each with what it rests on.

A rule looks at the spots of one part (a row, a rank, ...) and wants something to differ among them: the same row at
several columns is a row, several rows and columns of one bank are a bank. Several rules may hold at once, and several
suspects are the answer then, the best first. The classes are those of the field studies (``cite`` of each rule).

A grade is no probability: none of the studies gives one that holds for another machine. It says which of three
sentences is true (``GRADES``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.spread import (
    Hits,
    Spot,
    Spread,
    bank_of,
    bits_of,
    cell_of,
    channel_of,
    column_of,
    controller_of,
    dimm_of,
    rank_of,
    row_of,
)
from ringfence.world.situation import Suspect

SUSPECTS_NAMED: Final = 32
"""The best ones; nobody replaces more parts than that, and a list that is longer names what is common to them first."""

MANY: Final = 3
"""Places that make a pattern. Two may be chance, or one place whose address was decoded wrongly: so it happened to a
large study of DDR4 (Beigi et al., HPCA 2023, and its corrigendum, arXiv 2408.15302)."""

MOST: Final = (3, 4)
"""Three places in four."""


class Grade(StrEnum):
    """How well a suspect accounts for what was seen; the best first."""

    STRONG = "strong"
    LIKELY = "likely"
    POSSIBLE = "possible"


GRADES: Final = MappingProxyType(
    {
        Grade.STRONG: "it accounts for every place seen in the part around it, and for three or more of them",
        Grade.LIKELY: "it accounts for three in four of the places seen in the part around it, or for only two places",
        Grade.POSSIBLE: "it accounts for less, or its rule cannot tell it from a neighbour",
    }
)
"""The rule of each grade, in words. Places count, not errors: a storm from one cell is one place."""

_Part = Callable[[Spot], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the table. ``part`` names the part that a spot belongs to (None: to none that this rule knows).

    ``around`` names the wider part that the grade is about. Of each word in ``differ`` there must be two values or more
    among the part's spots; with ``repeats`` it must have been reported more than once. ``weak`` rules are POSSIBLE at
    best.
    """

    name: str
    suspect: Suspect
    kind: UnitKind
    part: _Part
    around: _Part
    because: str
    cite: str
    differ: tuple[tuple[str, _Part], ...] = ()
    repeats: bool = False
    weak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspected:
    """A suspect with its evidence. ``errors`` and ``places`` are those that it accounts for, ``distinct`` how many
    different syndromes (or devices, or pins) they have; ``speaks_for`` and ``speaks_against`` are sentences.
    """

    suspect: Suspect
    name: str
    rule: str
    grade: Grade
    errors: int
    places: int
    distinct: int
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The suspects, the best first; ``left_off`` further ones are not named."""

    suspects: tuple[Suspected, ...] = ()
    left_off: int = 0


# --- the parts that rules look at -------------------------------------------------------------------------------------


def _of_location(name: Callable[..., str | None]) -> _Part:
    return lambda spot: name(spot.location)


def _number(name: str) -> _Part:
    def part(spot: Spot) -> str | None:
        value = getattr(spot.location, name)
        return None if value is None else str(value)

    return part


def _rank(spot: Spot) -> str | None:
    location = spot.location
    return rank_of(location) if location.rank is not None or location.csrow is not None else None


def _cell(spot: Spot) -> str | None:
    cell, bits = cell_of(spot.location), bits_of(spot)
    return cell if cell is None or bits is None else f"{cell} {bits}"


def _within_rank(prefix: str) -> _Part:
    def part(spot: Spot) -> str | None:
        rank, bits = rank_of(spot.location), bits_of(spot)
        return None if rank is None or bits is None or not bits.startswith(prefix) else f"{rank} {bits}"

    return part


def _page(spot: Spot) -> str | None:
    return None if spot.frame is None else f"page {spot.frame:#x}"


def _cpu(spot: Spot) -> str | None:
    return None if spot.cpu is None else f"CPU {spot.cpu}"


def _socket(spot: Spot) -> str | None:
    return None if spot.location.socket is None else f"socket {spot.location.socket}"


def _unit(spot: Spot) -> str | None:
    socket = _socket(spot)
    return (f"{socket} {spot.unit}" if socket else spot.unit) or None


def _cache(spot: Spot) -> str | None:
    return _unit(spot) if "cache" in spot.unit.lower() else None


def _machine(_: Spot) -> str | None:
    return "the machine"


_DIMM: Final = _of_location(dimm_of)
_BANK: Final = _of_location(bank_of)
_ROW: Final = _of_location(row_of)
_COLUMN: Final = _of_location(column_of)
_CHANNEL: Final = _of_location(channel_of)
_CONTROLLER: Final = _of_location(controller_of)
_LI: Final = "Li, Huang, Shen, USENIX ATC 2010 (patterns of single bit, row, column, whole chip)"
_FAULTSIM: Final = "Roberts, Nair, FaultSim (classes pin, rank, bank, row, column, bit)"
_MEZA: Final = "Meza, Wu, Kumar, Mutlu, DSN 2015 (controller and channel cause most errors)"
_GCPU: Final = "illumos usr/src/cmd/fm/eversholt/files/i386/i86pc/gcpu.esc"
_B8: Final = "msg01049"

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="alias", suspect=Suspect.CELL, kind=UnitKind.MEMORY, part=_of_location(cell_of), around=_DIMM, weak=True,
        differ=(("pages", _page),),
        because="several pages for one cell: its address is decoded wrongly, or aliases; to take one page out will not "
        "end it",
        cite="Beigi et al., corrigendum, arXiv 2408.15302 (misdecoded addresses)",
    ),
    Rule(
        name="cell", suspect=Suspect.CELL, kind=UnitKind.MEMORY, part=_cell, around=_DIMM, repeats=True,
        because="the same cell again, so the fault is no passing one", cite=_LI,
    ),
    Rule(
        name="row", suspect=Suspect.ROW, kind=UnitKind.MEMORY, part=_ROW, around=_DIMM,
        differ=(("columns", _number("column")),), because="one row at several columns", cite=_LI,
    ),
    Rule(
        name="column", suspect=Suspect.COLUMN, kind=UnitKind.MEMORY, part=_COLUMN, around=_DIMM,
        differ=(("rows", _number("row")),), because="one column at several rows", cite=_LI,
    ),
    Rule(
        name="bank", suspect=Suspect.BANK, kind=UnitKind.MEMORY, part=_BANK, around=_DIMM,
        differ=(("rows", _number("row")), ("columns", _number("column"))),
        because="several rows and columns of one bank", cite=_FAULTSIM,
    ),
    Rule(
        name="pin", suspect=Suspect.DEVICE, kind=UnitKind.MEMORY, part=_within_rank("DQ"), around=_DIMM,
        differ=(("banks", _BANK),), because="one data line over several banks: its pin, or the chip behind it",
        cite=_FAULTSIM,
    ),
    Rule(
        name="device", suspect=Suspect.DEVICE, kind=UnitKind.MEMORY, part=_within_rank("device"), around=_DIMM,
        differ=(("banks", _BANK),), because="one chip over several banks", cite=_LI,
    ),
    Rule(
        name="same-syndrome", suspect=Suspect.DEVICE, kind=UnitKind.MEMORY, part=_within_rank("syndrome"), around=_DIMM,
        differ=(("banks", _BANK),), because="the same bits over several banks: one chip or one of its pins", cite=_LI,
    ),
    Rule(
        name="page", suspect=Suspect.PAGE, kind=UnitKind.MEMORY, part=_page, around=_DIMM, repeats=True,
        because="the same page again", cite="mcelog page.c (errors are counted for each page)",
    ),
    Rule(
        name="syndromes-of-a-rank", suspect=Suspect.RANK, kind=UnitKind.MEMORY, part=_rank, around=_DIMM,
        differ=(("syndromes", bits_of),),
        because="different bits of one rank are wrong: a UE is to be expected hours to days ahead", cite=_B8,
    ),
    Rule(
        name="banks-of-a-rank", suspect=Suspect.RANK, kind=UnitKind.MEMORY, part=_rank, around=_DIMM, weak=True,
        differ=(("banks", _BANK),), because="several banks of one rank; a single chip of it may be the cause",
        cite=_FAULTSIM,
    ),
    Rule(
        name="ranks-of-a-dimm", suspect=Suspect.DIMM, kind=UnitKind.MEMORY, part=_DIMM, around=_CHANNEL,
        differ=(("ranks", _rank),), because="several ranks of one DIMM: what they share is broken",
        cite=_FAULTSIM,
    ),
    Rule(
        name="dimms-of-a-channel", suspect=Suspect.CHANNEL, kind=UnitKind.MEMORY, part=_CHANNEL, around=_machine,
        differ=(("DIMMs", _DIMM),), because="several DIMMs of one channel: the channel, or its controller", cite=_MEZA,
    ),
    Rule(
        name="channels-of-a-controller", suspect=Suspect.CONTROLLER, kind=UnitKind.MEMORY, part=_CONTROLLER,
        around=_machine, differ=(("channels", _CHANNEL),), because="several channels of one memory controller",
        cite=_MEZA,
    ),
    Rule(
        name="memory-of-a-socket", suspect=Suspect.SOCKET, kind=UnitKind.MEMORY, part=_socket, around=_machine,
        differ=(("controllers", _CONTROLLER),), because="several memory controllers of one socket", cite=_MEZA,
    ),
    Rule(
        name="core", suspect=Suspect.CORE, kind=UnitKind.CORE, part=_cpu, around=_machine, repeats=True,
        because="the same CPU again", cite=_GCPU,
    ),
    Rule(
        name="shared-cache", suspect=Suspect.CACHE, kind=UnitKind.CORE, part=_cache, around=_machine,
        differ=(("CPUs", _cpu),), weak=True,
        because="several CPUs of one socket report the same cache; one that each has for itself looks the same",
        cite=_GCPU,
    ),
    Rule(
        name="cores-of-a-socket", suspect=Suspect.SOCKET, kind=UnitKind.CORE, part=_socket, around=_machine,
        differ=(("CPUs", _cpu), ("units", _unit)),
        because="several units of several CPUs of one socket: what they share (supply, clock, cooling)", cite=_GCPU,
    ),
    Rule(
        name="link", suspect=Suspect.LINK, kind=UnitKind.LINK, part=_unit, around=_machine, repeats=True,
        because="the same link again", cite="illumos intel.esc, serd.cpu.intel.quickpath.interconnect",
    ),
)  # fmt: skip
"""Every rule; those of smaller parts first, which is the order of suspects of the same grade."""


def suspects(spread: Spread) -> Suspicion:
    """What the errors point at. Pure; the order in which they came does not matter."""
    found = [suspected for rule in RULES for suspected in _by_rule(rule, spread)]
    order = list(Grade)
    found.sort(key=lambda each: order.index(each.grade))
    return Suspicion(tuple(found[:SUSPECTS_NAMED]), max(0, len(found) - SUSPECTS_NAMED))


_WIDE: Final = frozenset({Suspect.CHANNEL, Suspect.CONTROLLER, Suspect.SOCKET})
"""What errors are the fault of other parts beneath, too: to acquit one of these acquits none of them."""


def lies_in(spot: Spot, suspect: Suspect, name: str) -> bool:
    """Whether an error at this spot is one of that part, as the rules name parts, and not of what it leads to."""
    if suspect in _WIDE:
        return False
    return any(rule.suspect is suspect and rule.kind is spot.kind and rule.part(spot) == name for rule in RULES)


_Spots = list[tuple[Spot, Hits]]


def _by_rule(rule: Rule, spread: Spread) -> Iterable[Suspected]:
    """The suspects that one rule finds, by name."""
    parts: dict[str, _Spots] = {}
    wider: dict[str, _Spots] = {}
    for spot, hits in spread.spots.items():
        if spot.kind is not rule.kind:
            continue
        if (name := rule.part(spot)) is not None:
            parts.setdefault(name, []).append((spot, hits))
        if (around := rule.around(spot)) is not None:
            wider.setdefault(around, []).append((spot, hits))
    sizes = {around: (len(spots), _errors(spots)) for around, spots in wider.items()} if parts else {}
    for name, spots in sorted(parts.items()):
        if _holds(rule, spots):
            around_it = [sizes[each] for each in _values(rule.around, spots)]
            yield _suspected(rule, name, spots, around_it, spread)


def _holds(rule: Rule, spots: _Spots) -> bool:
    if rule.repeats and _errors(spots) < 2:
        return False
    return all(len(_values(part, spots)) >= 2 for _, part in rule.differ)


def _suspected(rule: Rule, name: str, spots: _Spots, around: list[tuple[int, int]], spread: Spread) -> Suspected:
    """``around``: places and errors of each wider part that these spots lie in."""
    unplaced = [spot for spot, _ in spots if rule.around(spot) is None]
    places = sum(number for number, _ in around) + len(unplaced)
    errors = sum(number for _, number in around)
    kinds = {word: len(_values(part, spots)) for word, part in rule.differ}
    differing = min(kinds.values(), default=MANY)
    counted = f"{_errors(spots)} errors in {len(spots)} place{'s' * (len(spots) != 1)}"
    told = ", ".join(f"{number} {word}" for word, number in kinds.items())
    elsewhere = (places - len(spots), errors - _errors((s, h) for s, h in spots if rule.around(s) is not None))
    return Suspected(
        suspect=rule.suspect,
        name=name,
        rule=rule.name,
        grade=_grade(rule, len(spots), places, differing, complete=spread.is_complete),
        errors=_errors(spots),
        places=len(spots),
        distinct=len(_values(bits_of, spots)),
        speaks_for=(rule.because, f"{counted}: {told}" if told else counted),
        speaks_against=_against(rule, elsewhere, differing, spread),
    )


def _errors(spots: Iterable[tuple[Spot, Hits]]) -> int:
    return sum(hits.errors for _, hits in spots)


def _values(part: _Part, spots: _Spots) -> set[str]:
    return {value for spot, _ in spots if (value := part(spot)) is not None}


def _grade(rule: Rule, places: int, around: int, differing: int, *, complete: bool) -> Grade:
    if rule.weak or places * MOST[1] < around * MOST[0]:
        return Grade.POSSIBLE
    if places < around or differing < MANY or not complete:
        return Grade.LIKELY
    return Grade.STRONG


def _against(rule: Rule, elsewhere: tuple[int, int], differing: int, spread: Spread) -> tuple[str, ...]:
    said: list[str] = []
    places, errors = elsewhere
    if places:
        said.append(f"{errors} errors in {places} place{'s' * (places != 1)} around it are not of it")
    if differing < MANY:
        said.append("two only: it may be chance, or an address that was decoded wrongly")
    if rule.weak:
        said.append("this rule cannot tell it from a neighbour")
    if spread.beyond:
        said.append(f"of {spread.beyond} further errors the places are not kept")
    return tuple(said)
