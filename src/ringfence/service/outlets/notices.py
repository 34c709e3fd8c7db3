"""The journal's events as notices: what is told of each, how much it weighs, and in which words.

Corrected errors are not told one by one. Texts of evidence are made legible here, once, for every outlet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringfence.decision.flow import State
from ringfence.decision.rows import MEANINGS, Row
from ringfence.diagnosis.severity import Severity
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.service.histories import BATCH, Words
from ringfence.service.outlets.topics import TOPICS, Priority, Topic
from ringfence.views.text import printable
from ringfence.world.identities import CaseId, DomainId
from ringfence.world.steps import Status

MOST_DETAILS: Final = 32
"""Of one notice: a decision has about ten reasons."""
MOST_CHARACTERS: Final = 1000
"""Of one text: longer ones come from evidence, and are in the journal whole. With its details a notice is below the
64 KiB that CloudEvents asks intermediaries to take."""
CASES_KNOWN: Final = 4096
"""Of which it is remembered how they began; others are looked up in the journal again."""
BEGINNING: Final = 32
"""Events of a case among which its first evidence is looked for: a case of an error begins with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell. ``number`` is the journal's of the event that it is about, or of the last one before it;
    ``part`` tells several of one event apart. ``wall_ms`` is None where the wall clock was not known.
    """

    topic: Topic
    number: int
    text: str
    priority: Priority
    part: str = ""
    wall_ms: int | None = None
    kind: str = ""
    case: int | None = None
    row: str = ""
    severity: str = ""
    domain: int | None = None
    domain_name: str = ""
    dimm: str = ""
    details: tuple[str, ...] = ()


def notice(topic: Topic, number: int, text: str, *, details: Iterable[str] = (), part: str = "") -> Notice:
    """A notice that no event of the journal is the reason of."""
    about = TOPICS[topic]
    legible = tuple(_legible(each) for each in islice(details, MOST_DETAILS))
    return Notice(topic=topic, number=number, text=_legible(text), priority=about.priority, details=legible, part=part)


# --- which events are told, and how much they weigh -------------------------------------------------------------------


def topic_of(event: ev.Stored) -> Topic | None:
    """The topic of an event; None for what is not told."""
    match event:
        case ev.Received():
            return Topic.ERROR if event.severity not in {Severity.CORRECTED, Severity.NONE} else None
        case ev.Carried():
            return Topic.ORDER_FAILED if event.status in _NOT_DONE else None
        case ev.PolicyLoaded() | ev.ConfigurationLoaded():
            return Topic.LOADED if event.who else None  # those of the start go without saying
        case _:
            return _TOPICS.get(type(event))


_NOT_DONE: Final = frozenset({Status.REFUSED, Status.FAILED, Status.UNKNOWN})
_TOPICS: Final[Mapping[type, Topic]] = MappingProxyType(
    {
        ev.Decided: Topic.DECISION,
        ev.Closed: Topic.CASE_CLOSED,
        ev.Superseded: Topic.CASE_CLOSED,
        ev.ApprovalAsked: Topic.APPROVAL_ASKED,
        ev.ApprovalGiven: Topic.APPROVAL_GIVEN,
        ev.Instructed: Topic.INSTRUCTION,
        ev.DeadlinePassed: Topic.DEADLINE_PASSED,
        ev.TrendSeen: Topic.TREND,
        ev.Cleared: Topic.FAULT_ENDED,
        ev.Lost: Topic.EVIDENCE_LOST,
        ev.Unrecognised: Topic.UNRECOGNISED,
        ev.Dom0Changed: Topic.DOM0,
        ev.Started: Topic.STARTED,
        ev.Stopped: Topic.STOPPED,
        ev.Salvaged: Topic.SALVAGED,
    }
)
_CONTEXT: Final = (ev.DomainChanged, ev.Intended, ev.Impacted, ev.KnownBad)
"""Not told, but the words of others need them, or a case begins with them."""
READ: Final = (ev.Received, ev.Carried, ev.PolicyLoaded, ev.ConfigurationLoaded, *_TOPICS, *_CONTEXT)
"""The kinds of events that are read at all: not those that a storm consists of."""

_BAD_ENDS: Final = frozenset({State.KILLED, State.STUCK, State.UNKNOWN, State.HALTED, State.NOT_HALTED})
_KILLS: Final = frozenset({Row.PV_KILL, Row.HVM_KILL})


def priority_of(event: ev.Stored, topic: Topic) -> Priority:
    """How much an event weighs."""
    match event:
        case ev.Received(severity=Severity.FATAL) | ev.Decided(row=Row.HALT):
            return Priority.CRITICAL
        case ev.Received() if event.severity != Severity.SRAR:
            return Priority.WARNING
        case ev.Decided() if event.row in _KILLS:
            return Priority.ERROR
        case ev.Closed() if any(entry.state in _BAD_ENDS for entry in event.outcome):
            return Priority.ERROR
        case ev.Lost(urgent=True) | ev.Dom0Changed(hurt=True):
            return Priority.ERROR
        case ev.Dom0Changed(has_handler=True):
            return Priority.NOTICE
        case _:
            return TOPICS[topic].priority


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a case began: by which event, and with an error of which severity (empty: of none)."""

    number: int
    severity: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look into the journal found. ``upto``: everything up to this event was looked at. ``missing`` are events
    after the place of the reader that the journal no longer keeps all of, the last one's number; 0 if there are none.
    """

    events: tuple[tuple[int, ev.Stored], ...]
    beginnings: Mapping[CaseId, Beginning]
    upto: int
    missing: int = 0


def look(journal: Path, after: int, last: int, known: frozenset[CaseId]) -> Look:
    """Read on, up to a batch; the journal has ``last`` events. Call it in a thread: the disk may be slow.

    Raises JournalError where the journal is damaged.
    """
    with Reader(journal) as reader:
        base = reader.base.number
        events = tuple(islice(reader.events(after, kinds=READ), BATCH))
        upto = events[-1][0] if len(events) == BATCH else max(last, events[-1][0] if events else after)
        cases = {case for _, event in events if (case := getattr(event, "case", None)) is not None} - known
        beginnings = {case: _beginning(reader, case) for case in cases}
    return Look(events, beginnings, upto, base if base > after else 0)


def _beginning(reader: Reader, case: CaseId) -> Beginning:
    first, severity = 0, ""
    for number, event in islice(reader.events(case=case), BEGINNING):
        first = first or (number if isinstance(event, READ) else 0)
        if isinstance(event, ev.Received):
            severity = event.severity
            break
    return Beginning(first, severity)


# --- words ------------------------------------------------------------------------------------------------------------


class Narrator:
    """Puts looks into notices, one after the other."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._cases: dict[CaseId, Beginning] = {}

    @property
    def cases(self) -> frozenset[CaseId]:
        """The cases of which it is known how they began."""
        return frozenset(self._cases)

    def notices(self, found: Look) -> list[tuple[int, tuple[Notice, ...]]]:
        """What is told of each event that something is told of."""
        self._cases.update(found.beginnings)
        told = [(number, self._of(number, event)) for number, event in found.events]
        while len(self._cases) > CASES_KNOWN:
            del self._cases[next(iter(self._cases))]
        return [(number, notices) for number, notices in told if notices]

    def _of(self, number: int, event: ev.Stored) -> tuple[Notice, ...]:
        case: CaseId | None = getattr(event, "case", None)
        begun = self._cases.get(case) if case is not None else None
        topic = topic_of(event)
        opens = begun is not None and begun.number == number
        if topic is None and not opens and not isinstance(event, _CONTEXT):
            return ()
        try:
            said = self._words.of(number, event)
        except Exception as error:
            # Whatever it is: one event that cannot be worded must neither end the service nor be passed over.
            sys.stderr.write(f"ringfence: event {number} cannot be put into words: {error!r}\n")
            text = f"event {number} ({type(event).__name__}) cannot be put into words, which is a defect of Ringfence"
            return (notice(topic or Topic.CASE_OPENED, number, text),) if topic is not None or opens else ()
        if said is None:
            return ()
        severity = getattr(event, "severity", "") or (begun.severity if begun is not None else "")
        domain = _domain_of(event)

        def told(topic: Topic, priority: Priority, part: str = "") -> Notice:
            return Notice(
                topic=topic,
                number=number,
                text=_legible(_text(event, said.text)),
                priority=priority,
                part=part,
                wall_ms=said.wall_ms,
                kind=said.kind,
                case=said.case,
                row=said.row,
                severity=_legible(severity),
                domain=domain,
                domain_name=_legible(self._words.names.get(domain, "")) if domain is not None else "",
                dimm=_legible(getattr(event, "dimm", None) or ""),
                details=tuple(_legible(each) for each in said.details[:MOST_DETAILS]),
            )

        found = [told(Topic.CASE_OPENED, TOPICS[Topic.CASE_OPENED].priority, "opened")] if opens else []
        if topic is not None:
            found.append(told(topic, priority_of(event, topic)))
        return tuple(found)


def _domain_of(event: ev.Stored) -> DomainId | None:
    """The domain that an event is about; None if there is none, or several."""
    if isinstance(event, ev.Closed):
        domains = {entry.domain for entry in event.outcome}
        return domains.pop() if len(domains) == 1 else None
    domain: DomainId | None = getattr(event, "domain", None)
    return domain


def _text(event: ev.Stored, said: str) -> str:
    """An event in words for who sees nothing but them: of a decision, what its row means comes first."""
    if isinstance(event, ev.Decided) and event.row in _HAPPENS:
        return f"{_HAPPENS[event.row]} ({said})"
    return said


_HAPPENS: Final[Mapping[str, str]] = MappingProxyType({row: meaning.happens for row, meaning in MEANINGS.items()})


def _legible(text: str) -> str:
    """A text without control characters and direction marks, of a bounded length, that UTF-8 can hold."""
    shown = printable(text).encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[: MOST_CHARACTERS - 3]}..."
