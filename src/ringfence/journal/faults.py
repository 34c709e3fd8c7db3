"""What the journal knows of faults over time, and of what is bad by them: folded from its events like all its state.

A fault is opened by ``TrendSeen``, acted upon by the case that this names, and ended by ``Cleared``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from heapq import nlargest
from operator import itemgetter
from typing import Final

from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.badlist import BadList, BadPart, runs
from ringfence.diagnosis.fault_case import CASES_KEPT, TABLE, Fault, Stage, Told, advance, is_evidence
from ringfence.diagnosis.spread import Apart, Sighting, apart, dimm_of, row_of, spot_of
from ringfence.diagnosis.suspects import lies_in
from ringfence.journal import events as ev
from ringfence.quick import changed
from ringfence.record.evidence import Location
from ringfence.world.identities import CaseId, CpuId, Frame
from ringfence.world.situation import Suspect
from ringfence.world.steps import ExchangeFrame, HealHost, OfflineCpu, OfflineFrame, OnlineCpu, OnlineFrame, Step

FAULTS_KEPT: Final = 4096
"""The newest; as many as suspects are counted (``state.SUSPECTS_KEPT``)."""

SUCCEEDED: Final = "operated"
"""The end of a part that did what was wanted (``decision.flow.State.OPERATED``)."""

Key = tuple[Suspect, str]

_NUMBERED: Final = re.compile(r"(?:page|CPU) (0x[0-9a-f]{1,16}|0|[1-9][0-9]{0,9})")


@dataclass(slots=True)
class Faults:
    """The faults by what they are of, which open case acts on which, and what was taken out of use and stays bad.

    ``back_pages`` and ``back_cpus`` are those that a reboot has put back into use.
    """

    known: dict[Key, Fault] = field(default_factory=dict)
    acting: dict[CaseId, Key] = field(default_factory=dict)
    pages: dict[Frame, int] = field(default_factory=dict)
    cpus: dict[CpuId, None] = field(default_factory=dict)
    back_pages: set[Frame] = field(default_factory=set)
    back_cpus: set[CpuId] = field(default_factory=set)

    def of(self, suspect: Suspect, name: str) -> Fault | None:
        """The fault of a part, None if there never was one."""
        return self.known.get((suspect, name))

    @property
    def bad(self) -> BadList:
        """What is known to be bad: it outlives reboots, and ends with the fault (``Cleared``)."""
        parts = tuple(
            BadPart(each.suspect, each.name, each.stage, each.evidence)
            for each in self.known.values()
            if not each.ended
        )
        return BadList(runs(self.pages.items()), tuple(sorted(self.cpus)), parts)


# --- what events make of them -----------------------------------------------------------------------------------------


def trend_seen(faults: Faults, event: ev.TrendSeen) -> None:
    """A part passed its threshold: its fault is opened, or errs again; the event's case acts on it."""
    key = (event.suspect, event.name)
    known = faults.known.pop(key, None)
    if known is None or known.ended:
        fault = Fault(suspect=event.suspect, name=event.name, opened_ms=event.at_ms, since_ms=event.at_ms)
    else:
        fault = _told(known, Told.THRESHOLD, event.at_ms)
    best = event.accused[0] if event.accused else None
    if best is not None:
        fault = replace(fault, rule=best.rule, grade=best.grade, evidence=(*best.speaks_for, *best.speaks_against))
    fault = _told(fault, Told.NOTHING_TO_DO if event.case is None else Told.ACTING, event.at_ms)
    faults.known[key] = fault
    if event.case is not None:
        faults.acting[event.case] = key
        faults.known[key] = replace(fault, cases=(*fault.cases, event.case)[-CASES_KEPT:])
    while len(faults.known) > FAULTS_KEPT:
        del faults.known[next(iter(faults.known))]


def case_closed(faults: Faults, case: CaseId, outcome: Iterable[ev.OutcomeEntry], at_ms: int) -> None:
    """What acted on a fault has ended: it helped if any part of it did what was wanted."""
    key = faults.acting.pop(case, None)
    if key is not None and (known := faults.known.get(key)) is not None:
        done = any(entry.state == SUCCEEDED for entry in outcome)
        faults.known[key] = _told(known, Told.DONE if done else Told.FAILED, at_ms)


def rebooted(faults: Faults, at_ms: int) -> None:
    """The host was rebooted: nothing is out of use any more. What is bad stays known."""
    faults.acting.clear()
    faults.back_pages, faults.back_cpus = set(faults.pages), set(faults.cpus)
    for key, known in faults.known.items():
        faults.known[key] = _told(known, Told.REBOOTED, at_ms)


def shifted(faults: Faults, by_ms: int) -> None:
    """The host's clock began anew: put the times on the clock of this life."""
    for key, known in faults.known.items():
        faults.known[key] = replace(known, opened_ms=known.opened_ms + by_ms, since_ms=known.since_ms + by_ms)


def carried(faults: Faults, step: Step) -> None:
    """A step was carried out."""
    match step:
        case OfflineFrame(frame, pages):
            faults.pages[frame] = pages
            faults.back_pages.discard(frame)
        case ExchangeFrame(_, frame):
            faults.pages[frame] = 1
            faults.back_pages.discard(frame)
        case OnlineFrame(frame):
            faults.pages.pop(frame, None)
        case OfflineCpu(cpu):
            faults.cpus[cpu] = None
            faults.back_cpus.discard(cpu)
        case OnlineCpu(cpu):
            faults.cpus.pop(cpu, None)
            faults.back_cpus.discard(cpu)
        case HealHost(frames, cpu, _):
            faults.pages.update(dict.fromkeys(frames, 1))
            if cpu is not None:
                faults.cpus[cpu] = None
        case _:
            pass  # no other step takes anything out of use


def cleared(
    faults: Faults,
    history: dict[Key, deque[Sighting]],
    forgetting: Forgetting,
    offlined: dict[str, dict[Frame, int]],
    event: ev.Cleared,
) -> None:
    """A part was mended, replaced or acquitted: its fault ends, and nothing of before counts against it."""
    key = (event.suspect, event.name)
    known = faults.known.pop(key, None)
    if known is None:
        known = Fault(suspect=event.suspect, name=event.name, opened_ms=event.at_ms, since_ms=event.at_ms)
    # Ended once more, it ends now: what was heard of since then is no evidence either.
    ended = _told(known, Told(event.how), event.at_ms)
    faults.known[key] = replace(ended, stage=Stage(event.how), since_ms=event.at_ms, who=event.who or ended.who)
    for other in [other for other in history if _is_of(event, other)]:
        del history[other]
        forgetting.pop(other, None)
    pages = {(Suspect.PAGE, f"page {frame:#x}") for frame in offlined.get(event.name, ())}
    beneath = pages if event.suspect is Suspect.DIMM else set()
    for other in [other for other in faults.known if other != key and (other in beneath or _is_of(event, other))]:
        faults.known[other] = _told(faults.known[other], Told(event.how), event.at_ms)
    _to_forget(history, forgetting, key)
    _back_in_use(faults, offlined, event)
    faults.back_pages &= faults.pages.keys()
    faults.back_cpus &= faults.cpus.keys()


def _back_in_use(faults: Faults, offlined: dict[str, dict[Frame, int]], event: ev.Cleared) -> None:
    if event.suspect is Suspect.DIMM:
        for frame in offlined.pop(event.name, {}):
            faults.pages.pop(frame, None)
    number = _number_in(event.name)
    if event.suspect is Suspect.PAGE and number is not None:
        faults.pages.pop(Frame(number), None)
        for frames in offlined.values():
            frames.pop(Frame(number), None)
    if event.suspect is Suspect.CORE and number is not None:
        faults.cpus.pop(CpuId(number), None)


def _number_in(name: str) -> int | None:
    """The number of "page 0x12" and of "CPU 3"."""
    found = _NUMBERED.fullmatch(name)
    return int(found[1], 0) if found else None


def _is_of(event: ev.Cleared, key: Key) -> bool:
    """Whether what is counted or accused is the part, or lies in it by its name."""
    suspect, name = key
    if suspect is event.suspect:
        return event.name in {name, f"{suspect} {name}"}
    within = {Suspect.CELL, Suspect.ROW, Suspect.COLUMN, Suspect.BANK, Suspect.DEVICE, Suspect.RANK}
    return event.suspect in {Suspect.DIMM, Suspect.RANK} and suspect in within and name.startswith(f"{event.name} ")


# --- what was seen before is forgotten, piece by piece ----------------------------------------------------------------

Forgetting = dict[Key, tuple[Key, ...]]
"""By what is counted: the parts that were cleared since, whose errors are still to be taken away there. Whoever reads
the history leaves them out (``remembered``), so that they count no more from the first moment on.
"""

FORGOTTEN_AT_ONCE: Final = 1_024
"""Sightings that are looked at when a part is cleared: some milliseconds. Most hosts have fewer, a long storm's history
a hundred times as many."""
FORGOTTEN_EACH: Final = 16
"""Sightings that each event afterwards looks at, some 50 us: a batch of events is folded at one go, and an uncorrected
error waits for it."""
PARTS_FORGOTTEN: Final = 8
"""Parts to be forgotten in one place. With more of them at one go it is done at once: somebody clears part after part
on a host where nothing else happens, and waits for it."""


def _to_forget(history: dict[Key, deque[Sighting]], forgetting: Forgetting, part: Key) -> None:
    for counted in history:
        waiting = forgetting.get(counted, ())
        if part not in waiting:
            forgetting[counted] = (*waiting, part)
    room = FORGOTTEN_AT_ONCE
    for counted in list(forgetting):
        size = len(history.get(counted, ()))
        if size <= room:
            room -= size
            forget_in(history, forgetting, counted)
        elif len(forgetting[counted]) > PARTS_FORGOTTEN:
            forget_in(history, forgetting, counted)


def forget_some(history: dict[Key, deque[Sighting]], forgetting: Forgetting, turn: int) -> None:
    """Go on with what is to be forgotten. A long history takes its turn once in so many events, by their number
    ``turn``: all that happens is made by events alone, so that a replay comes to the same.
    """
    room = FORGOTTEN_EACH
    while room > 0 and forgetting:
        counted = next(iter(forgetting))
        size = len(history.get(counted, ()))
        if turn % (1 + size // FORGOTTEN_EACH):
            return
        room -= size
        forget_in(history, forgetting, counted)


def forget_in(history: dict[Key, deque[Sighting]], forgetting: Forgetting, counted: Key) -> None:
    """Take away from one place what was seen of the parts that were cleared."""
    parts, sightings = forgetting.pop(counted, ()), history.get(counted)
    if sightings is None:
        return
    kept = _without(sightings, parts)
    if not kept:
        del history[counted]
    elif len(kept) < len(sightings):
        history[counted] = deque(kept, maxlen=sightings.maxlen)


def remembered(
    history: Mapping[Key, Sequence[Sighting]], forgetting: Mapping[Key, tuple[Key, ...]]
) -> dict[Key, tuple[Sighting, ...]]:
    """The history without what is to be forgotten. It may look at all of it: not for the writer's thread."""
    found = ((key, tuple(_without(seen, forgetting.get(key, ())))) for key, seen in history.items())
    return {key: seen for key, seen in found if seen}


def _without(sightings: Sequence[Sighting], parts: tuple[Key, ...]) -> Sequence[Sighting]:
    if not parts:
        return sightings
    return [each for each in sightings if not any(lies_in(spot_of(each), *part) for part in parts)]


def fault_key(counted: Key) -> Key:
    """The name that the faults know a part by, from the one that the history knows it by."""
    suspect, name = counted
    return (suspect, f"page {name}") if suspect is Suspect.PAGE else counted


def is_history(faults: Faults, counted: Key, seen: Sighting) -> bool:
    """Whether an error is older than the end of the last fault of its part, or of the DIMM that it lies in: heard of
    late, it says nothing of what is there now.
    """
    if not faults.known:
        return False
    part = faults.known.get(fault_key(counted))
    if not is_evidence(part, seen.at_ms):
        return True
    return not is_evidence(faults.known.get((Suspect.DIMM, dimm_of(seen.location) or "")), seen.at_ms)


def _told(fault: Fault, told: Told, at_ms: int) -> Fault:
    """The fault after it was told something; what does not fit changes nothing, for a fold never fails."""
    return advance(fault, told, at_ms) if (fault.stage, told) in TABLE else fault


# --- what errors are counted by ---------------------------------------------------------------------------------------


SPOTS_OF_A_STORM: Final = 2
"""Pages of one ``Repeated`` that the history of its rank, its DIMM and so on tells apart, those with most errors; the
others count there without a page. A storm has many, one after the other, and no rule asks for more than a few."""


_KINDS: Final[dict[str, UnitKind]] = {str(each): each for each in UnitKind}
_PLACES: Final = frozenset(Location.__slots__)
PLACES_KEPT: Final = 256
"""An error is counted, looked at for trends and folded again: each time its place is asked for."""


def sighting_of(event: ev.Received | ev.Repeated) -> Sighting:
    """A corrected error as the history keeps it."""
    location = _location(event.place)
    cpu = CpuId(event.record.cpu) if event.record.cpu is not None else None
    kind = _KINDS.get(event.unit_kind, UnitKind.OTHER)
    at_ms = event.at_ms
    if isinstance(event, ev.Received) and event.happened_ms is not None:
        at_ms = event.happened_ms
    return Sighting(at_ms, event.count, event.syndrome, event.frame, cpu, location, event.unit, kind)


@lru_cache(maxsize=PLACES_KEPT)
def _location(place: tuple[tuple[str, int | str], ...]) -> Location:
    return Location(**{name: value for name, value in place if name in _PLACES})  # type: ignore[arg-type]  # numbers and a label, as Location has them; msgspec has checked that they are either


def storm_of(event: ev.Repeated) -> Iterator[tuple[Key, Sighting]]:
    """What corrected errors that came together count for, and how much: each page, then the parts that they share."""
    each = sighting_of(event)
    count, at_ms, syndrome, cpu = event.count, each.at_ms, each.syndrome, each.cpu

    def of_page(page: Frame | None, reports: int) -> Sighting:
        return Sighting(at_ms, count * reports, syndrome, page, cpu, each.location, each.unit, each.kind)

    for page, reports in event.pages:
        yield (Suspect.PAGE, f"{page:#x}"), of_page(page, reports)
    most = nlargest(SPOTS_OF_A_STORM, event.pages, key=itemgetter(1))
    spots = [of_page(page, reports) for page, reports in most]
    if (rest := event.reports - sum(reports for _, reports in most)) > 0:
        spots.insert(0, of_page(None, rest))
    for key in counted_by(event, each):
        for spot in spots:
            yield key, spot


def page_key(page: Frame) -> Key:
    """The name that the history knows a page by."""
    return Suspect.PAGE, f"{page:#x}"


def counted_by(event: ev.Received | ev.Repeated, seen: Sighting) -> tuple[Key, ...]:
    """The parts that a corrected error counts for, by the names that the history knows them by."""
    location = seen.location
    unit = f"socket {location.socket} {seen.unit}" if location.socket is not None else seen.unit
    names = (
        (Suspect.PAGE, page_key(event.frame)[1] if event.frame is not None else None),
        (Suspect.RANK, event.rank),
        (Suspect.DIMM, event.dimm),
        (Suspect.CORE, event.core),
        (Suspect.ROW, row_of(location) if seen.kind is UnitKind.MEMORY else None),
        (Suspect.CACHE, unit if seen.kind is UnitKind.CORE and "cache" in seen.unit.lower() else None),
        (Suspect.LINK, unit if seen.kind is UnitKind.LINK else None),
        (Suspect.SOCKET, f"socket {location.socket}" if location.socket is not None else None),
    )
    return tuple((suspect, name) for suspect, name in names if name)


def remember(sightings: deque[Sighting], seen: Sighting) -> None:
    """Add a sighting. When there is no room, those of the same spot become one: details go, the count stays exact.

    So a storm from one cell does not push the other syndromes of its rank out (B.8). The older half goes first, so that
    what the last window holds stays as it is. What is heard of late takes its place in the order of time.
    """
    room = sightings.maxlen
    if sightings and seen.at_ms < sightings[-1].at_ms:
        if room is not None and len(sightings) >= room:
            _make_room(sightings, room)
        sightings.insert(bisect_right(sightings, seen.at_ms, key=lambda each: each.at_ms), seen)
        return
    if room is not None and len(sightings) >= room:
        last = sightings[-1]
        if seen.at_ms - last.at_ms < STORM_MS and apart(last) == apart(seen):
            sightings[-1] = changed(last, count=seen.count + last.count)
            return
        _make_room(sightings, room)
    sightings.append(seen)


STORM_MS: Final = 1_000
"""Errors of one spot that come together in a storm are told apart to the second: they would fill any history."""


def remember_together(sightings: deque[Sighting], seen: Sighting) -> None:
    """As ``remember``, for errors that came together: those of the same spot within ``STORM_MS`` are one sighting, at
    the time of the first.
    """
    last = sightings[-1] if sightings else None
    if (
        last is not None
        and 0 <= seen.at_ms - last.at_ms < STORM_MS
        and last.frame == seen.frame
        and last.syndrome == seen.syndrome
        and last.location == seen.location
        and (last.cpu, last.unit, last.kind) == (seen.cpu, seen.unit, seen.kind)
    ):
        together = last.count + seen.count
        sightings[-1] = Sighting(
            last.at_ms, together, last.syndrome, last.frame, last.cpu, last.location, last.unit, last.kind
        )
    else:
        remember(sightings, seen)


def _make_room(sightings: deque[Sighting], room: int) -> None:
    """Much at once, for it looks at all of them. At least one place is free then."""
    # Each spot is compared once, and is a number from then on.
    numbers: dict[Apart, int] = {}
    numbered = [(numbers.setdefault(apart(each), len(numbers)), each) for each in sightings]
    kept = [*_joined(numbered[: room // 2]), *(each for _, each in numbered[room // 2 :])]
    wanted = room - max(1, room // 8)
    if len(kept) > wanted:
        kept = _joined(numbered)
    if (more := len(kept) - wanted) > 0:  # as many spots as there is room for: the oldest lose theirs
        lost, kept = kept[: more + 1], kept[more + 1 :]
        kept.insert(0, replace(lost[-1], count=sum(each.count for each in lost)))
    sightings.clear()
    sightings.extend(kept)


def _joined(numbered: Iterable[tuple[int, Sighting]]) -> list[Sighting]:
    """One sighting a spot (by its number): the last one, with the count of all."""
    found: dict[int, Sighting] = {}
    for spot, seen in numbered:
        before = found.pop(spot, None)
        found[spot] = seen if before is None else changed(seen, count=seen.count + before.count)
    return list(found.values())
