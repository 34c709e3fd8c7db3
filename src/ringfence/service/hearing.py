"""What a source of the host's own tells becomes events of the journal: every item exactly one, and none twice.

The law (``tests/service/test_intake.py`` walks it): an item of a batch ends as one of ``Received`` (an error of its
own), ``AlsoSeen`` (a further report of one), ``Unrecognised``, ``Lost`` or ``Repeated``. They are written together with
how far the source was read, all or none: a kill before that leaves the source where it was, a kill after it finds them
all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

import msgspec

from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.diagnosis.severity import ErrorClass, is_judgeable
from ringfence.journal import events as ev
from ringfence.journal.faults import counted_by, sighting_of
from ringfence.journal.state import Sighted, State, sighted, sighted_again
from ringfence.record.evidence import Record, Unrecognised
from ringfence.record.repeats import Repeats
from ringfence.service import seen
from ringfence.service.sources.attaching import Further, New, Placed, Unjudged
from ringfence.service.sources.joining import WINDOW_S
from ringfence.service.sources.source import Lost, Position
from ringfence.world.identities import CaseId
from ringfence.world.situation import Suspect

LATE_MS: Final = 60_000
"""What is read so long after its own time happened then, and not now. Reports take less; clocks differ by less."""

FROM_BANKS: Final = "the banks, as the kernel logged them"
"""Where evidence of an earlier boot comes from if the kernel found it in the banks at its start."""

SILENT: Final = "it does not say how bad it is, and is of no error that is known"


@dataclass(frozen=True, slots=True)
class Told:
    """What one batch of a source amounts to, and how far the source was read by it.

    ``sink``: the source holds what was left before Ringfence looked (an earlier boot, a counter that nobody read), and
    is called so.
    """

    source: str
    items: tuple[Placed | Unrecognised | Lost | Repeats, ...]
    position: Position | None = None
    sink: str = ""

    @property
    def repeats(self) -> tuple[Repeats, ...]:
        """What came together in a storm."""
        return tuple(each for each in self.items if isinstance(each, Repeats))


@dataclass(slots=True)
class Heard:
    """Events of the journal, and for which parts each corrected error counts by them."""

    events: list[ev.Event] = field(default_factory=list)
    counted: list[tuple[ev.Received, frozenset[Suspect]]] = field(default_factory=list)


def sink_of(told: Told, placed: New) -> str:
    """Where an earlier boot left this; empty for what happened in this one."""
    if told.sink:
        return told.sink
    return FROM_BANKS if diagnose(placed.record).is_left_over else ""


def for_the_seat(told: Told) -> tuple[tuple[int, ...], ...]:
    """Which items whoever treats errors has to hear, by their places; what is of one moment is judged together."""
    moments: list[list[int]] = []
    before: float | None = None
    for place, item in enumerate(told.items):
        match item:
            case New() if not sink_of(told, item):
                pass
            case Further(presses=True) if not told.sink:
                pass
            case _:
                continue
        time = item.record.time
        apart = time is not None and before is not None and abs(time - before) > WINDOW_S
        if apart or not moments:
            moments.append([])
        moments[-1].append(place)
        before = time if time is not None else before
    return tuple(map(tuple, moments))


def heard(
    told: Told,
    state: State,
    cases: Mapping[int, CaseId | None],
    *,
    now_ms: int,
    left_over: Mapping[int, tuple[ev.Received, *tuple[ev.Event, ...]]],
) -> Heard:
    """The events of what a source told.

    ``cases`` has the case of each item that was put to the seat, ``left_over`` the events of what an earlier boot left.
    """
    found = Heard()
    known: dict[int, Sighted] = {}
    for place, item in enumerate(told.items):
        match item:
            case New() if place in left_over:
                first, *rest = left_over[place]
                received = msgspec.structs.replace(first, source=told.source, sighting=item.number)
                known[item.number] = sighted(received)
                found.events += [received, *rest]
            case New():
                received = _received(told, item, state, cases.get(place), now_ms)
                known[item.number] = sighted(received)
                found.events.append(received)
                if received.corrected:
                    found.counted.append((received, seen.EVERY_KIND))
            case Further():
                before = known.get(item.of) or state.sighted.get(item.of) or Sighted()
                also = _also_seen(told, item, before, cases.get(place), state, now_ms)
                known[item.of] = sighted_again(before, also)
                found.events.append(also)
                if also.adds:
                    found.counted.append((also.report, frozenset(also.adds)))
            case Unjudged(record=record):
                found.events.append(
                    ev.Unrecognised(at_ms=now_ms, raw=record.raw, why=SILENT, origin=record.origin, source=told.source)
                )
            case Unrecognised(origin=origin, raw=raw, why=why):
                found.events.append(ev.Unrecognised(at_ms=now_ms, raw=raw, why=why, origin=origin, source=told.source))
            case Lost():
                found.events.append(_lost(told, item, now_ms))
            case Repeats():
                pass  # written by whoever counts storms (``service.storms``)
            case _:
                assert_never(item)
    if told.position is not None:
        found.events.append(ev.SourceRead(at_ms=now_ms, source=told.source, position=told.position))
    return found


def _received(told: Told, item: New, state: State, case: CaseId | None, now_ms: int) -> ev.Received:
    finding = diagnose(item.record)
    received = seen.received(
        finding, at_ms=now_ms, token=None, case=case, urgent=_is_urgent(finding), part=0, sink=None, count=item.count
    )
    return msgspec.structs.replace(
        received, source=told.source, sighting=item.number, could_be=item.could_be,
        happened_ms=_happened_ms(item.record, state, now_ms),
    )  # fmt: skip


def _is_urgent(finding: Finding) -> bool:
    return finding.error_class is ErrorClass.UNCORRECTED


def _happened_ms(record: Record, state: State, now_ms: int) -> int | None:
    """When it happened on the host's clock, if its own time says that this is long ago. A time to come is no time."""
    if record.time is None or state.epoch_ms is None:
        return None
    at_ms = round(record.time * 1000) - state.epoch_ms
    return at_ms if at_ms < now_ms - LATE_MS else None


def _also_seen(  # noqa: PLR0913, PLR0917 (one argument a fact)
    told: Told, item: Further, before: Sighted, case: CaseId | None, state: State, now_ms: int
) -> ev.AlsoSeen:
    """A further report, with all that is known of the error's place by now: gaps are filled from earlier reports."""
    record = item.record
    if is_judgeable(record):
        finding = diagnose(record)
        report = seen.received(
            finding, at_ms=now_ms, token=None, case=None, urgent=_is_urgent(finding), part=0, sink=told.sink or None
        )
    else:
        # What the kernel did with a page, for example: it says nothing of how bad the error was.
        summary = "; ".join(claim.text for claim in record.claims) or "it says no more"
        report = ev.Received(
            at_ms=now_ms, token=None, case=None, urgent=False, record=record, severity="", summary=summary
        )
    place = {**dict(before.place), **dict(report.place)}
    report = msgspec.structs.replace(
        report, source=told.source, place=tuple(place.items()),
        frame=report.frame if report.frame is not None else before.frame,
        syndrome=report.syndrome if report.syndrome is not None else before.syndrome,
        happened_ms=_happened_ms(record, state, now_ms),
    )  # fmt: skip
    counts = before.corrected and report.corrected
    named = (suspect for suspect, _ in counted_by(report, sighting_of(report))) if counts else ()
    return ev.AlsoSeen(
        at_ms=now_ms, of=item.of, report=report, rule=item.rule, case=case if case is not None else before.case,
        adds=tuple(suspect for suspect in named if suspect not in before.counted),
    )  # fmt: skip


def _lost(told: Told, item: Lost, now_ms: int) -> ev.Lost:
    return ev.Lost(
        at_ms=now_ms, count=item.at_least, urgent=False, source=told.source, unit=item.unit, why=item.why,
        exact=item.exact,
    )  # fmt: skip


def records_of(told: Told, moment: Sequence[int]) -> Iterator[Record]:
    """The records of items."""
    for place in moment:
        item = told.items[place]
        assert isinstance(item, New | Further)  # noqa: S101 (``for_the_seat`` gives no other)
        yield item.record
