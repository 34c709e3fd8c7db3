"""What the journal amounts to: the state that a replay rebuilds, by the same fold that the writer goes through (L9).

The fold never fails and looks at nothing but the events: every prefix of a journal has a state. What does not fit (an
end of an order that was never intended) changes nothing and is counted in ``strays``.
"""

from __future__ import annotations

import copy
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, Self, assert_never

import msgspec

from ringfence.decision.flow import Position
from ringfence.diagnosis.fault_case import Ending
from ringfence.diagnosis.severity import is_judgeable
from ringfence.diagnosis.spread import Sighting
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal import faults
from ringfence.journal.case import Approval, Case, Choice, OpenOrder, Outcome, Part, Question, Reply
from ringfence.journal.faults import Faults, Forgetting, Key
from ringfence.journal.numbers import Numbers
from ringfence.journal.tallies import OTHER, Tallies, tally
from ringfence.record.evidence import Record
from ringfence.world.domain import LIVING, DomainKind, DomainState
from ringfence.world.identities import OWN_CASES, CaseId, DomainId, Frame, StepId
from ringfence.world.situation import OpenCase, PluginVerdict, Suspect
from ringfence.world.steps import ExchangeFrame, OfflineFrame, OnlineFrame, Order, Result, Status, Step
from ringfence.world.treatment import TAKEN_UP

HISTORY_MS: Final = 365 * 24 * 3600 * 1000
"""How long corrected errors are remembered: the longest window that a policy may ask for (``trends.rank_window``)."""
SIGHTINGS_OF_A_PAGE: Final = 32
"""Of one page: there are thousands of these. Three times as many as commonly pass its threshold."""
SIGHTINGS_KEPT: Final = 512
"""Of one suspect; what is too much is put together, with its count (``faults.remember``)."""
SUSPECTS_KEPT: Final = 4096
"""The ones seen last; a host has far fewer DIMMs and cores, and a page that erred 4,096 pages ago is no trend."""
TOKENS_KEPT: Final = 4096
"""The newest that may not be acknowledged yet: 64 times what a source shows at once."""
TREATED_KEPT: Final = 4096
"""Pages that closed cases have dealt with, the newest: far more than a host can lose and live."""
PENDING_KEPT: Final = 4096
"""Orders whose pages wait for their owner, the newest: as many as a backend follows."""
OUTCOMES_KEPT: Final = 1024
"""Of closed cases, the newest; older ones are read from the journal itself."""


SIGHTED_KEPT: Final = 4096
"""Errors that the host's own sources told of, the newest: a further report of an older one is an error by itself."""
POSITIONS_KEPT: Final = 256
"""Of sources, the ones read last: four times as many as a configuration may name."""

MOST_LOST: Final = 1 << 32
"""Of a damaged journal: no file of its size holds as many."""


# --- parts of the state -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """A domain as the journal last heard of it."""

    name: str
    kind: DomainKind
    state: DomainState
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Sighted:
    """What is known of an error that a source of the host's own told of, from all reports of it.

    ``counted`` are the kinds of parts for which it was counted.
    """

    case: CaseId | None = None
    corrected: bool = False
    counted: tuple[Suspect, ...] = ()
    frame: Frame | None = None
    syndrome: int | None = None
    place: tuple[tuple[str, int | str], ...] = ()


# --- the state ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class State:
    """What a journal amounts to. ``apply`` changes it in place; ``snapshot`` gives a copy that stays as it is.

    ``history`` are the corrected errors of each suspect, oldest first, and ``forgetting`` what of it counts no more
    (``sightings`` leaves it out); ``faults`` what became of those that were too many;
    ``offlined`` the pages that Ringfence had taken out of use, per DIMM; ``pending`` the orders of this boot whose
    pages leave use when their owner lets go of them (case, first page, how many); ``unacknowledged`` the arrivals that
    are durable while their source may not know, each with a CRC of its records, for a source may use a number again;
    ``sighted`` the errors that the host's own sources told of, by number, and ``positions`` how far these were read;
    ``modules`` the serial numbers of memory modules by socket. ``epoch_ms`` is the wall clock's time at 0 of the host's
    clock; ``received`` counts reports, ``together`` those of them that came together in storms, ``summed`` those of
    these that are not kept one by one; ``treated`` are the pages that closed cases of this boot dealt with (which case,
    how many pages from there on), ``left_standing`` the domains that must not run again in it, as a way to a lost page
    could not be taken from them; ``last_seat_case`` the greatest number of a case that is not Dom0's own.
    Dictionaries are in the order of their events.
    """

    life: int = 0
    boot: str = ""
    running: bool = False
    policy_digest: str = ""
    now_ms: int = 0
    epoch_ms: int | None = None
    applied: int = 0
    cases: dict[CaseId, Case] = field(default_factory=dict)
    outcomes: dict[CaseId, Outcome] = field(default_factory=dict)
    closed: Numbers = field(default_factory=Numbers)
    questions: dict[tuple[CaseId, DomainId], Question] = field(default_factory=dict)
    approvals: dict[tuple[CaseId, DomainId | None, str], Approval] = field(default_factory=dict)
    orders: dict[StepId, OpenOrder] = field(default_factory=dict)
    pending: dict[StepId, tuple[CaseId, Frame, int]] = field(default_factory=dict)
    unacknowledged: dict[Token, int] = field(default_factory=dict)
    sighted: dict[int, Sighted] = field(default_factory=dict)
    positions: dict[str, str] = field(default_factory=dict)
    history: dict[tuple[Suspect, str], deque[Sighting]] = field(default_factory=dict)
    forgetting: Forgetting = field(default_factory=dict)
    offlined: dict[str, dict[Frame, int]] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    modules: dict[str, str] = field(default_factory=dict)
    treated: dict[Frame, tuple[CaseId, int]] = field(default_factory=dict)
    left_standing: dict[DomainId, None] = field(default_factory=dict)
    domains: dict[DomainId, Known] = field(default_factory=dict)
    dom0_has_handler: bool = False
    dom0_hurt: bool = False
    received: int = 0
    also_seen: int = 0
    together: int = 0
    summed: int = 0
    unrecognised: int = 0
    lost_urgent: int = 0
    lost_nonurgent: int = 0
    unread: int = 0
    strays: int = 0
    tallies: Tallies = field(default_factory=Tallies)
    last_case: int = 0
    last_seat_case: int = 0
    last_order: int = 0
    last_sighting: int = 0

    @property
    def next_case(self) -> CaseId:
        """A number that no case has had."""
        return CaseId(self.last_case + 1)

    @property
    def next_order(self) -> StepId:
        """A number that no order has had."""
        return StepId(self.last_order + 1)

    @property
    def open_cases(self) -> tuple[OpenCase, ...]:
        """The open cases as a situation lists them."""
        return tuple(
            OpenCase(case.id, frozenset(case.frames), frozenset(case.domains), case.consumed)
            for case in self.cases.values()
        )

    def is_closed(self, case: CaseId) -> bool:
        """Whether a case has had its outcome."""
        return case in self.closed

    def is_durable(self, token: Token, records: Iterable[Record] = ()) -> bool:
        """Whether this arrival, with its records, is in the journal already: acknowledge it, and no more."""
        known = self.unacknowledged.get(token)
        return known is not None and known == _checksum(records)

    def pages_offlined(self, dimm: str) -> int:
        """How many pages of a DIMM Ringfence had taken out of use."""
        return sum(self.offlined.get(dimm, {}).values())

    def seen(self, suspect: Suspect, name: str, window_ms: int) -> tuple[Sighting, ...]:
        """The corrected errors of a suspect within the last ``window_ms``."""
        return tuple(each for each in self.sightings((suspect, name)) if each.at_ms > self.now_ms - window_ms)

    def sightings(self, counted: Key) -> Sequence[Sighting]:
        """The corrected errors of a suspect, oldest first."""
        seen = self.history.get(counted, ())
        parts = self.forgetting.get(counted)
        return seen if parts is None else faults.remembered({counted: seen}, {counted: parts}).get(counted, ())

    def snapshot(self) -> Self:
        """A copy that later events do not change."""
        return copy.deepcopy(self)


_APART: Final = msgspec.msgpack.Encoder()


def _checksum(records: Iterable[Record], before: int = 0) -> int:
    """A CRC over what tells records apart: their raw bytes, and their registers where a source gives no bytes.

    Those that do not say how bad they are stand apart in the journal (``events.Unrecognised``), and here for nothing.
    """
    for record in filter(is_judgeable, records):
        apart = _APART.encode((record.bank, record.cpu, record.registers))
        before = zlib.crc32(apart, zlib.crc32(record.raw, before))
    return before


def replay(stored: Iterable[tuple[int, ev.Stored]]) -> State:
    """The state after the events of a journal, as ``Journal.events`` or ``Reader.events`` gives them."""
    state = State()
    for _, event in stored:
        apply(state, event)
    return state


def apply(state: State, event: ev.Stored) -> State:  # noqa: PLR0912, PLR0915 (one arm per kind of event, a table)
    """Fold one event into the state, in place; returns the same state."""
    state.applied += 1
    state.now_ms = max(state.now_ms, event.at_ms)
    tally(state.tallies, event, _step_of(state, event) if isinstance(event, ev.Carried) else OTHER)
    if state.forgetting:
        faults.forget_some(state.history, state.forgetting, state.applied)
    match event:  # the kinds that come most often first: each arm that is passed costs time
        case ev.Progressed():
            _progressed(state, event)
        case ev.Received():
            _received(state, event)
        case ev.Acknowledged():
            for token in event.tokens:
                state.unacknowledged.pop(token, None)
        case ev.Decided():
            _durable(state, event.token)
            if case := _case(state, event):
                case.decided[event.domain] = Choice(event.row, event.answer)
        case ev.DomainChanged():
            _domain_changed(state, event)
        case ev.Closed():
            faults.case_closed(state.faults, event.case, event.outcome, event.at_ms)
            _close(state, event.case, Outcome(event.outcome))
        case ev.Impacted():
            _impacted(state, event)
        case ev.Answered():
            _answered(state, event)
        case ev.Asked():
            _asked(state, event)
        case ev.Carried():
            _carried(state, event)
        case ev.Intended():
            _intended(state, event)
        case ev.Repeated():
            _repeated(state, event)
        case ev.AlsoSeen():
            _also_seen(state, event)
        case ev.SourceRead():
            state.positions.pop(event.source, None)
            state.positions[event.source] = event.position
            while len(state.positions) > POSITIONS_KEPT:
                del state.positions[next(iter(state.positions))]
        case ev.Superseded():
            faults.case_closed(state.faults, event.case, (), event.at_ms)
            _close(state, event.case, Outcome((), event.by))
            _number_used(state, event.by)
        case ev.TrendSeen():
            if event.case is not None and (case := _opened(state, event.case, event.at_ms)):
                case.frames.update(dict.fromkeys(event.frames, 1))
            faults.trend_seen(state.faults, event)
        case ev.KnownBad():
            _opened(state, event.case, event.at_ms)
        case ev.Cleared():
            faults.cleared(state.faults, state.history, state.forgetting, state.offlined, event)
            _module_changed(state, event)
            _number_used(state, event.case or 0)
        case ev.ModulesSeen():
            # A socket that is empty now had that module last: what comes there next is compared with it.
            state.modules.update((each.name, each.serial) for each in event.modules if each.serial)
        case ev.PluginSaid():
            if case := _case(state, event):
                case.verdicts.append(PluginVerdict(event.plugin, event.answer, event.because, event.domain))
        case ev.ApprovalAsked():
            if _case(state, event):
                wanted = Approval(event.case, event.domain, event.operation, event.deadline_ms)
                state.approvals[event.case, event.domain, event.operation] = wanted
        case ev.ApprovalGiven():
            if case := _case(state, event):
                state.approvals.pop((event.case, event.domain, event.operation), None)
                case.approved[event.domain, event.operation] = event.granted
        case ev.Instructed():
            if event.case is not None and (case := _opened(state, event.case, event.at_ms)):
                case.instructed = event.operation
                case.domains.update(() if event.domain is None else (event.domain,))
        case ev.DeadlinePassed():
            _deadline_passed(state, event)
        case ev.EvidenceSaved():
            _durable(state, event.token)
            if case := _case(state, event):
                case.evidence_saved = True
        case ev.Dom0Changed():
            state.dom0_has_handler, state.dom0_hurt = event.has_handler, event.hurt
        case ev.Lost():
            _durable(state, event.token)
            if event.urgent:
                state.lost_urgent += event.count
            else:
                state.lost_nonurgent += event.count
        case ev.Unrecognised():
            before = state.unacknowledged.get(event.token, 0) if event.part and event.token is not None else 0
            _durable(state, event.token, (), before)
            state.unrecognised += 1
        case ev.Started():
            _started(state, event)
        case ev.Stopped():
            state.running = False
        case ev.PolicyLoaded():
            state.policy_digest = event.digest
        case ev.ConfigurationLoaded():
            pass  # what the service goes by is its own affair
        case ev.Compacted():
            pass  # nothing that counts was dropped
        case ev.Salvaged():
            _salvaged(state, event)
        case ev.Unread():
            _unread(state, event)
        case _:
            assert_never(event)
    return state


def _step_of(state: State, event: ev.Carried) -> str:
    """The kind of step of the order that an event ends."""
    known = state.orders.get(event.order)
    return type(known.order.step).__name__ if known is not None else OTHER


def _unread(state: State, event: ev.Unread) -> None:
    state.unread += 1
    _number_used(state, event.case or 0)
    state.last_order = max(state.last_order, event.order or 0)
    _durable(state, Token(event.token) if event.token is not None else None)


def _salvaged(state: State, event: ev.Salvaged) -> None:
    """No number that a lost event may have used is given away again: each used one of each kind at most."""
    skipped = min(event.lost, MOST_LOST)
    state.last_order += skipped
    state.last_case = max(state.last_case, OWN_CASES) + skipped if skipped else state.last_case
    if state.last_seat_case + skipped < OWN_CASES:
        state.last_seat_case += skipped


# --- cases ----------------------------------------------------------------------------------------------------------


def _number_used(state: State, number: int) -> None:
    state.last_case = max(state.last_case, number)
    if number < OWN_CASES:
        state.last_seat_case = max(state.last_seat_case, number)


def _opened(state: State, number: CaseId, at_ms: int) -> Case | None:
    """The case of this number, opened if it is new; None if it is closed."""
    if (known := state.cases.get(number)) is not None:
        return known
    if state.is_closed(number):
        return None
    case = state.cases[number] = Case(number, at_ms)
    _number_used(state, number)
    return case


_OfCase = (
    ev.Decided
    | ev.PluginSaid
    | ev.ApprovalAsked
    | ev.ApprovalGiven
    | ev.DeadlinePassed
    | ev.EvidenceSaved
    | ev.Answered
    | ev.Asked
    | ev.Impacted
    | ev.Progressed
    | ev.Intended
)


def _case(state: State, event: _OfCase) -> Case | None:
    """The open case of an event; the event of a closed case is a stray."""
    case = _opened(state, event.case, event.at_ms)
    if case is None:
        state.strays += 1
    return case


def _close(state: State, number: CaseId, outcome: Outcome) -> None:
    if state.is_closed(number):
        state.strays += 1
        return
    _number_used(state, number)
    case = state.cases.pop(number, None)
    if case is not None and case.impact is not None and number < OWN_CASES:
        for frame, pages in case.impact.frames:
            state.treated.pop(frame, None)
            state.treated[frame] = number, pages
        while len(state.treated) > TREATED_KEPT:
            del state.treated[next(iter(state.treated))]
    state.closed.add(number)
    state.outcomes[number] = outcome
    for question in [key for key in state.questions if key[0] == number]:
        del state.questions[question]
    for approval in [key for key in state.approvals if key[0] == number]:
        del state.approvals[approval]
    if len(state.outcomes) > OUTCOMES_KEPT:
        del state.outcomes[next(iter(state.outcomes))]


def _impacted(state: State, event: ev.Impacted) -> None:
    if (case := _case(state, event)) is None:
        return
    case.impact = event
    case.consumed = case.consumed or event.consumed
    case.frames.update(event.frames)
    case.domains.update(hit.domain for hit in (event.consumer, *event.losers) if hit.domain is not None)


def _progressed(state: State, event: ev.Progressed) -> None:
    _durable(state, event.token)
    if (case := _case(state, event)) is None:
        return
    known = case.parts.get(event.domain)
    # What is taken up after a kill has waited all the while.
    waited = known is not None and event.event == TAKEN_UP and known.state == event.state
    since_ms = known.since_ms if known is not None and waited else event.at_ms
    case.parts[event.domain] = Part(event.state, event.row, event.because, event.ended, event.position, since_ms)
    if event.domain is not None:
        case.domains.add(event.domain)
        if event.ended:
            state.questions.pop((event.case, event.domain), None)
            if event.state == faults.SUCCEEDED and _is_held(event.position):
                state.left_standing[event.domain] = None


def _is_held(position: str) -> bool:
    """Whether a way to a lost page could not be taken away, by the end that a part has come to."""
    try:
        return bool(position) and Position.decode(position).held
    except ValueError:
        return False  # a later version wrote it


def _asked(state: State, event: ev.Asked) -> None:
    _durable(state, event.token)
    if (case := _case(state, event)) is None:
        return
    case.domains.add(event.domain)
    if (event.domain, ev.Deadline.ANSWER) not in case.passed:
        state.questions[event.case, event.domain] = Question(event.case, event.domain, event.deadline_ms, event.operate)


def _answered(state: State, event: ev.Answered) -> None:
    if (case := _case(state, event)) is None:
        return
    state.questions.pop((event.case, event.domain), None)
    case.answers[event.domain] = Reply(event.says, event.status)


def _deadline_passed(state: State, event: ev.DeadlinePassed) -> None:
    if (case := _case(state, event)) is None:
        return
    case.passed.add((event.domain, event.which))
    if event.which is ev.Deadline.ANSWER and event.domain is not None:
        state.questions.pop((event.case, event.domain), None)
    if event.which is ev.Deadline.APPROVAL:
        for key in [key for key in state.approvals if key[:2] == (event.case, event.domain)]:
            del state.approvals[key]


# --- evidence -------------------------------------------------------------------------------------------------------


def _durable(state: State, token: Token | None, records: Iterable[Record] = (), before: int = 0) -> None:
    if token is None:
        return
    state.unacknowledged.pop(token, None)
    state.unacknowledged[token] = _checksum(records, before)
    if len(state.unacknowledged) > TOKENS_KEPT:
        del state.unacknowledged[next(iter(state.unacknowledged))]


def _received(state: State, event: ev.Received) -> None:
    before = state.unacknowledged.get(event.token, 0) if event.part and event.token is not None else 0
    _durable(state, event.token, (event.record,), before)
    state.received += 1
    if event.case is not None:
        _evidence_of(state, event, event.case)
    counts = event.corrected and not event.left_over
    if counts:
        _count(state, event)
    if event.sighting is not None:
        state.last_sighting = max(state.last_sighting, event.sighting)
        state.sighted[event.sighting] = sighted(event)
        while len(state.sighted) > SIGHTED_KEPT:
            del state.sighted[next(iter(state.sighted))]


def sighted(event: ev.Received) -> Sighted:
    """What its first report tells of an error."""
    counts = event.corrected and not event.left_over
    counted = tuple(suspect for suspect, _ in faults.counted_by(event, faults.sighting_of(event))) if counts else ()
    return Sighted(event.case, counts, counted, event.frame, event.syndrome, event.place)


def sighted_again(known: Sighted, event: ev.AlsoSeen) -> Sighted:
    """What is known of an error after a further report, which has all that was known before."""
    report = event.report
    return replace(
        known, case=known.case if event.case is None else event.case, counted=(*known.counted, *event.adds),
        frame=report.frame, syndrome=report.syndrome, place=report.place,
    )  # fmt: skip


def _also_seen(state: State, event: ev.AlsoSeen) -> None:
    """One more report of an error: it counts for the parts that nobody had named before, and for no other."""
    state.also_seen += 1
    state.last_sighting = max(state.last_sighting, event.of)
    if event.case is not None:
        _evidence_of(state, event.report, event.case)
    if event.adds:
        _count(state, event.report, event.adds)
    if (known := state.sighted.get(event.of)) is not None:
        state.sighted[event.of] = sighted_again(known, event)


def _evidence_of(state: State, event: ev.Received, number: CaseId) -> None:
    if (case := _opened(state, number, event.at_ms)) is None:
        return  # a further report of a case that is closed: counted above, no stray
    case.records += 1
    case.severity = case.severity or event.severity
    case.left_over = case.left_over or event.left_over
    case.dimm = case.dimm or event.dimm
    if event.frame is not None:
        case.frames[event.frame] = event.pages


def _repeated(state: State, event: ev.Repeated) -> None:
    state.received += event.reports
    state.together += event.reports
    state.summed += 0 if event.packed else event.reports
    if event.corrected:
        _remember(state, faults.storm_of(event), faults.remember_together)


def _module_changed(state: State, event: ev.Cleared) -> None:
    """Another module may be in the socket: it is no surprise to find another serial number there."""
    if event.suspect is Suspect.DIMM and event.how is not Ending.ACQUITTED:
        state.modules.pop(event.name, None)
        if event.serial:
            state.modules[event.name] = event.serial


_EVERY_KIND: Final = frozenset(Suspect)


def _count(state: State, event: ev.Received, only: Iterable[Suspect] = _EVERY_KIND) -> None:
    seen, wanted = faults.sighting_of(event), frozenset(only)
    _remember(state, ((key, seen) for key in faults.counted_by(event, seen) if key[0] in wanted))


def sightings_kept(key: faults.Key) -> int:
    """How many sightings of a suspect are kept apart."""
    return SIGHTINGS_OF_A_PAGE if key[0] is Suspect.PAGE else SIGHTINGS_KEPT


def _remember(
    state: State,
    counted: Iterable[tuple[faults.Key, Sighting]],
    remember: Callable[[deque[Sighting], Sighting], None] = faults.remember,
) -> None:
    history, oldest_ms = state.history, state.now_ms - HISTORY_MS
    for key, seen in counted:
        if faults.is_history(state.faults, key, seen):
            continue
        if key in state.forgetting:
            faults.forget_in(history, state.forgetting, key)
        sightings = history.pop(key, None)
        if sightings is None:
            sightings = deque((seen,), sightings_kept(key))
        else:
            while sightings and sightings[0].at_ms < oldest_ms:
                sightings.popleft()
            remember(sightings, seen)
        history[key] = sightings  # the last one seen stands last
    for key in tuple(islice(history, max(0, len(history) - SUSPECTS_KEPT))):
        del history[key]


# --- orders ---------------------------------------------------------------------------------------------------------


def _intended(state: State, event: ev.Intended) -> None:
    state.last_order = max(state.last_order, event.order)
    if (case := _case(state, event)) is None:
        return
    dimm = event.dimm if event.dimm is not None else case.dimm
    state.orders[event.order] = OpenOrder(
        Order(event.order, event.step.step),
        event.case,
        event.attempt,
        event.at_ms,
        state.life,
        state.boot,
        dimm=dimm,
    )


def _carried(state: State, event: ev.Carried) -> None:
    if (known := state.orders.get(event.order)) is None:
        # Of a page that was waited for: it was taken to be out of use before, and counts as it did.
        state.strays += state.pending.pop(event.order, None) is None
        return
    if event.status is Status.RUNNING:
        state.orders[event.order] = msgspec.structs.replace(known, running=True)
        return
    del state.orders[event.order]
    result = Result(event.status, event.because, event.declared)
    if (case := state.cases.get(known.case)) is not None:
        case.ended_orders[event.order] = result
    if event.status is Status.PENDING and isinstance(step := known.order.step, OfflineFrame):
        state.pending[event.order] = known.case, step.frame, step.pages
        while len(state.pending) > PENDING_KEPT:
            del state.pending[next(iter(state.pending))]
    if result.succeeded:
        _pages_moved(state, known.order.step, known.dimm or "")
        faults.carried(state.faults, known.order.step)


def _pages_moved(state: State, step: Step, dimm: str) -> None:
    match step:
        case OfflineFrame():
            state.offlined.setdefault(dimm, {})[step.frame] = step.pages
        case ExchangeFrame():
            state.offlined.setdefault(dimm, {})[step.frame] = 1
        case OnlineFrame():
            for frames in state.offlined.values():
                frames.pop(step.frame, None)
        case _:
            pass  # no other step takes pages out of use or puts them back


# --- the host ---------------------------------------------------------------------------------------------------------


def _started(state: State, event: ev.Started) -> None:
    state.life, state.running, state.policy_digest = event.life, True, event.policy_digest
    _set_clock(state, event)
    if event.boot != state.boot:
        faults.rebooted(state.faults, event.at_ms)
        state.boot = event.boot
        state.questions.clear()
        state.approvals.clear()
        state.pending.clear()
        state.unacknowledged.clear()
        state.domains.clear()
        state.treated.clear()
        state.left_standing.clear()
        state.dom0_hurt = False


def _set_clock(state: State, event: ev.Started) -> None:
    """A host's clock may begin anew with a boot: put the history on the clock of this life.

    The wall clock says how much time went by. Without it, a clock that went back counts as if none had.
    """
    epoch_ms = event.wall_ms - event.at_ms if event.wall_ms is not None else None
    if epoch_ms is not None and state.epoch_ms is not None:
        shift_ms = state.epoch_ms - epoch_ms
    else:
        shift_ms = min(0, event.at_ms - state.now_ms)
    state.now_ms, state.epoch_ms = event.at_ms, epoch_ms
    if shift_ms:
        faults.shifted(state.faults, shift_ms)
        for key, sightings in state.history.items():
            moved = (replace(each, at_ms=each.at_ms + shift_ms) for each in sightings)
            state.history[key] = deque(moved, maxlen=sightings_kept(key))


def _domain_changed(state: State, event: ev.DomainChanged) -> None:
    if event.state in LIVING or event.state is DomainState.SAVED:
        state.domains[event.domain] = Known(event.name, event.domain_kind, event.state, event.uuid)
        return
    state.domains.pop(event.domain, None)
    state.left_standing.pop(event.domain, None)
    for key in [key for key in state.questions if key[1] == event.domain]:
        del state.questions[key]
