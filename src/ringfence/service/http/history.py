"""Events by the page, and events and cases explained step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from ringfence.diagnosis.finding import Event as Diagnosed
from ringfence.diagnosis.finding import Finding, judged
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.journal.telling import told_of
from ringfence.record.evidence import Unrecognised
from ringfence.service import control_protocol as say
from ringfence.service.followed import followed_by
from ringfence.service.histories import SILENT, Context, Words
from ringfence.service.http.api import Asked, CaseNumber
from ringfence.service.http.bounds import MOST_EVENTS, MOST_SCANNED
from ringfence.service.http.problems import Problem, problem
from ringfence.service.http.routes import Answer, Call, Method, Route, Scope
from ringfence.views import chain, jsonl
from ringfence.world.identities import CaseId

A = TypeVar("A", bound=msgspec.Struct)

EventNumber = Annotated[int, Meta(ge=1, le=say.MOST_NUMBER, description="The number of an event.")]


# --- pages ------------------------------------------------------------------------------------------------------------


class Events(Asked, frozen=True, kw_only=True):
    """A page of events: the newest, or those after a number."""

    limit: Annotated[int, Meta(ge=1, le=MOST_EVENTS, description="At most so many.")] = 100
    after: (
        Annotated[int, Meta(ge=0, le=say.MOST_NUMBER, description="Those after this number, oldest first.")] | None
    ) = None
    case: CaseNumber | None = None
    what: (
        Annotated[str, Meta(max_length=32, description="Of this sort alone: finding, decision, outcome, ...")] | None
    ) = None


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, oldest first. ``after`` is the last number that was looked at: ask for those after it to go on.

    ``more``: there are more; a page can be empty all the same, for a request looks at a bounded number of events. Of
    the events up to ``dropped`` the journal keeps only what is of use still (retention): who knew less has a gap.
    """

    events: tuple[say.Event, ...]
    after: int
    more: bool
    dropped: int = 0


async def events(call: Call[Events]) -> Answer:
    """A page of what the journal says."""
    context = await call.ask(Context.of)
    if isinstance(context, say.Refused):
        return context
    return await call.compute(lambda: _page(call.house.journal, call.asked, context, call.house.news.last))


def _page(journal: Path, asked: Events, context: Context, last: int) -> EventPage:
    filtered = asked.case is not None or asked.what is not None
    most = MOST_SCANNED if filtered else SILENT * asked.limit
    with Reader(journal) as reader:
        if asked.after is not None:
            return _after(reader, asked, context, last)
        begin = 0 if asked.case is not None else max(reader.base.number, last - most)
        found = [event for _, event in _said(reader, asked, context, begin) if event is not None]
        dropped = reader.base.number
    return EventPage(events=tuple(found[-asked.limit :]), after=last, more=False, dropped=dropped)


def _after(reader: Reader, asked: Events, context: Context, last: int) -> EventPage:
    found: list[say.Event] = []
    number, dropped, looked_at = asked.after or 0, reader.base.number, 0
    for number, event in _said(reader, asked, context, asked.after or 0):
        looked_at += 1
        found += [event] if event is not None else []
        if len(found) == asked.limit:
            return EventPage(events=tuple(found), after=number, more=number < last, dropped=dropped)
    whole = looked_at < MOST_SCANNED
    after = max(number, last) if whole else number
    return EventPage(events=tuple(found), after=after, more=not whole, dropped=dropped)


def _said(reader: Reader, asked: Events, context: Context, after: int) -> Iterator[tuple[int, say.Event | None]]:
    """The events after a number in words; None for one that is not wanted, or says nothing."""
    words = Words(context, after)
    words.learn(reader, after)
    case = CaseId(asked.case) if asked.case is not None else None
    for number, event in islice(reader.events(after, case=case), MOST_SCANNED):
        said = words.of(number, event)
        yield number, said if said is not None and asked.what in {None, said.what} else None


# --- explained --------------------------------------------------------------------------------------------------------


class TheCase(Asked, frozen=True, kw_only=True):
    """One case."""

    case: CaseNumber


class TheEvent(Asked, frozen=True, kw_only=True):
    """One event."""

    number: EventNumber


class CaseExplained(msgspec.Struct, frozen=True, kw_only=True):
    """A case, from raw registers to outcome, as `ringfence explain` tells it.

    ``links`` are in the order in which things happened, ``at_ms`` on the host's clock, whose 0 was at ``epoch_wall_ms``
    (None if that is not known). ``evidence`` are the records that it rests on, decoded; ``suspects`` is what its last
    trend points at, the best first. ``outcome`` is empty while it is open; ``whole`` is False if the case is longer
    than one request looks at. ``followed_by`` are the cases that were begun because of its end.
    """

    case: int
    open: bool
    title: str
    links: tuple[chain.Link, ...]
    outcome: tuple[str, ...]
    evidence: tuple[jsonl.FindingLine, ...]
    suspects: tuple[ev.Accused, ...] = ()
    epoch_wall_ms: int | None = None
    whole: bool = True
    followed_by: tuple[int, ...] = ()


class EventExplained(msgspec.Struct, frozen=True, kw_only=True):
    """An event step by step. ``event`` says it in words, None if it says nothing to a reader.

    ``links`` are the steps of a record that made no case (``event.case`` names the case of another one); ``finding`` is
    what its bits mean, ``unread`` what could not be read.
    """

    number: int
    kind: str
    event: say.Event | None
    links: tuple[chain.Link, ...] = ()
    finding: jsonl.FindingLine | None = None
    unread: jsonl.UnrecognisedLine | None = None


async def case(call: Call[TheCase]) -> Answer:
    """A case with its whole chain."""
    return await _explained(call, lambda context: _case(call.house.journal, CaseId(call.asked.case), context))


async def event(call: Call[TheEvent]) -> Answer:
    """An event, step by step."""
    return await _explained(call, lambda context: _event(call.house.journal, call.asked.number, context))


async def _explained(call: Call[A], what: Callable[[Context], Answer]) -> Answer:
    context = await call.ask(Context.of)
    return context if isinstance(context, say.Refused) else await call.compute(lambda: what(context))


def _case(journal: Path, number: CaseId, context: Context) -> CaseExplained | Problem:
    with Reader(journal) as reader:
        told = told_of(reader, number, context.lives, MOST_SCANNED)
        if not told.events:
            return problem(HTTPStatus.NOT_FOUND, f"there is no case {number}", "GET /api/v1/cases lists them.")
        own = [(at, each) for at, each in told.events if not isinstance(each, ev.Carried)]
        words = Words(context, own[0][0])
        words.learn(reader, own[-1][0])
        followed = followed_by(reader, number, told)
    shown = chain.chain(number, (each for _, each in told.events), words.names, told.epoch_ms)
    found = (judged(each.record) for _, each in own if isinstance(each, ev.Received))
    return CaseExplained(
        case=number,
        open=shown.is_open,
        title=shown.title,
        links=shown.links,
        outcome=shown.outcome,
        evidence=tuple(_finding_line(each) for each in found if not isinstance(each, Unrecognised)),
        suspects=next((each.accused for _, each in reversed(own) if isinstance(each, ev.TrendSeen)), ()),
        epoch_wall_ms=told.epoch_ms,
        whole=len(own) < MOST_SCANNED,
        followed_by=followed,
    )


def _finding_line(finding: Finding) -> jsonl.FindingLine:
    return jsonl.line(Diagnosed(1, finding, finding.record.count))


def _event(journal: Path, number: int, context: Context) -> EventExplained | Problem:
    with Reader(journal) as reader:
        words = Words(context, number - 1)
        words.learn(reader, number)
        found = next(reader.events(number - 1), None)
    if found is None or found[0] != number:
        advice = "Events that are old enough are dropped; GET /api/v1/events lists what there is."
        return problem(HTTPStatus.NOT_FOUND, f"there is no event {number}", advice)
    _, stored = found
    said, kind = words.of(number, stored), type(stored).__name__
    if isinstance(stored, ev.Received):
        links = chain.chain_of_record(number, stored).links if stored.case is None else ()
        judgement = judged(stored.record)
        if isinstance(judgement, Unrecognised):
            unread = jsonl.unrecognised_line(judgement)
            return EventExplained(number=number, kind=kind, event=said, links=links, unread=unread)
        finding = _finding_line(judgement)
        return EventExplained(number=number, kind=kind, event=said, links=links, finding=finding)
    if isinstance(stored, ev.Unrecognised) and stored.origin is not None:
        unread = jsonl.unrecognised_line(Unrecognised(stored.origin, stored.raw, stored.why))
        return EventExplained(number=number, kind=kind, event=said, unread=unread)
    return EventExplained(number=number, kind=kind, event=said)


ROUTES = (
    Route(
        method=Method.GET, path="/api/v1/events", name="events", needs=Scope.READ, asked=Events, answers=EventPage,
        handler=events, summary="What happened, in words, by the page",
    ),
    Route(
        method=Method.GET, path="/api/v1/events/{number}", name="event", needs=Scope.READ, asked=TheEvent,
        answers=EventExplained, handler=event, refuses=(HTTPStatus.NOT_FOUND,),
        summary="One event, step by step, with its registers decoded",
    ),
    Route(
        method=Method.GET, path="/api/v1/cases/{case}", name="case", needs=Scope.READ, asked=TheCase,
        answers=CaseExplained, handler=case, refuses=(HTTPStatus.NOT_FOUND,),
        summary="One case from raw registers to outcome, each step with its reason and its row of the concept",
    ),
)  # fmt: skip
"""Histories: read from the journal in a thread, without the writer."""
