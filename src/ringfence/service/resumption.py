"""What an earlier life or an earlier boot left open: taken up as each step's kind allows, or given its outcome (L9)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from ringfence.action.carry import taken_up
from ringfence.decision.flow import Position, State
from ringfence.decision.rows import Row
from ringfence.diagnosis.impact import Certainty, Consumer, Ground, Impact, Loser, Party
from ringfence.journal import events as ev
from ringfence.journal.case import Case, Part
from ringfence.journal.lives import last_boots
from ringfence.record.evidence import Record
from ringfence.service.alone import Alone
from ringfence.service.ledger import Ledger
from ringfence.service.treatment import Left
from ringfence.world.identities import OWN_CASES, CaseId, DomainId, Frame, StepId
from ringfence.world.steps import InjectVmce, NotifyGuest, OfflineFrame, Order, Result, Status, Step
from ringfence.world.treatment import TAKEN_UP

_TO_A_HALT: Final = frozenset({State.SAVING_EVIDENCE, State.SPEAKING, State.HALTING, State.HALTING_AGAIN})


def strangers(ledger: Ledger) -> frozenset[DomainId]:
    """The domains whose number was another domain's when the journal last heard of it. Ask before that is noted."""
    now = {each.id: each for each in ledger.host.situation(None).domains}
    return frozenset(
        number
        for number, known in ledger.state.domains.items()
        if number in now and is_another(known.name, known.uuid, now[number].name, now[number].uuid)
    )


def is_another(name: str, uuid: str, name_now: str, uuid_now: str) -> bool:
    """Whether two domains of one number are different ones: by UUID, by name where one has none."""
    return uuid != uuid_now if uuid and uuid_now else name != name_now


def take_up_orders(ledger: Ledger, others: frozenset[DomainId] = frozenset()) -> None:
    """Go on with the orders of an earlier life of the same boot; not with those about ``others`` (``strangers``). The
    host hears first which pages have lost what they held: an order that is given again must not read one.
    """
    ledger.host.heed_lost(_lost(ledger))
    for order, known in list(ledger.state.orders.items()):
        if getattr(known.order.step, "domain", None) in others:
            why = "the number is another domain's by now: not carried out again"
            ledger.carried(order, Result(Status.UNKNOWN, why))
            continue
        result = taken_up(ledger.host, known.order)
        if result is None and ledger.dry_run:
            why = "it was being carried out when Ringfence ended, and this is a dry run: not carried out again"
            ledger.carried(order, Result(Status.UNKNOWN, why))
        elif result is None:
            ledger.attempts(known.case, known.order, "", known.attempt + 1, known.dimm)
        else:
            ledger.carried(order, result)


def _lost(ledger: Ledger) -> Iterator[Frame]:
    """The pages of this boot's uncorrected errors: those that closed cases dealt with, and those of open ones."""
    open_ = ((frame, pages) for number, case in ledger.state.cases.items() if number < OWN_CASES
             for frame, pages in case.frames.items())  # fmt: skip
    for first, pages in (*((frame, pages) for frame, (_, pages) in ledger.state.treated.items()), *open_):
        yield from (Frame(first + at) for at in range(min(pages, MOST_PAGES)))


def take_up_pages(ledger: Ledger) -> None:
    """Ask what has become of the pages of this boot that waited for their owner; those that still wait are followed."""
    for order, (case, frame, pages) in list(ledger.state.pending.items()):
        result = ledger.host.probe(Order(order, OfflineFrame(frame, pages), case))
        if result.status in {Status.DONE, Status.FAILED}:
            ledger.carried(order, result)


def take_up_cases(ledger: Ledger, alone: Alone, others: frozenset[DomainId] = frozenset()) -> None:
    """This seat treats by itself: go on with each open case where it stood, from its evidence and its parts."""
    cases = {number: case for number, case in ledger.state.cases.items() if number < OWN_CASES}
    if not cases:
        return
    for number, case in cases.items():
        for domain, part in list(case.parts.items()):
            if part.position and not part.ended and _position(part) is None:
                ledger.write(_not_understood(ledger.now_ms, number, domain, part))
    for number, record in _open_evidence(ledger, cases, alone).items():
        alone.take_up(number, record, ledger.host.situation(record), _left(cases[number]))
    taken = {(part.case, part.subject.domain) for part in alone.treatment.parts}
    for number, case in cases.items():
        left = case.parts or ({None: _NO_PART} if number not in {taken_up for taken_up, _ in taken} else {})
        for domain, part in list(left.items()):
            if not part.ended and (number, domain) not in taken:
                ledger.write(_lost_sight(ledger.now_ms, number, domain, part))
    alone.notice_gone(others)
    alone.go_on()


_NO_PART: Final = Part("", Row.IMPACT)


def _position(part: Part) -> Position | None:
    """Where a part stood; None if this version cannot read it."""
    try:
        return Position.decode(part.position)
    except ValueError:
        return None


def _not_understood(at_ms: int, case: CaseId, domain: DomainId | None, part: Part) -> ev.Progressed:
    """The end of a part of which a later version of Ringfence wrote where it stood: nothing is done by guess."""
    whom = "the host" if domain is None else f"domain {domain}"
    return ev.Progressed(
        at_ms=at_ms, case=case, domain=domain, event=TAKEN_UP, state=State.UNKNOWN, row=part.row, ended=True,
        because=f"it stood at {part.position!r}, which this version of Ringfence does not know: see yourself whether "
        f"{whom} is as it should be, or start the version that wrote it",
    )  # fmt: skip


def remembered(ledger: Ledger, others: frozenset[DomainId]) -> tuple[dict[Frame, CaseId], frozenset[DomainId]]:
    """What this boot's closed cases leave to be heeded: the pages that each has dealt with, and the domains that stay
    stopped, as a way to a lost page could not be taken from them; not those that are ``others`` by now.
    """
    state = ledger.state
    treated = {
        Frame(first + at): case
        for first, (case, pages) in state.treated.items()
        for at in range(min(pages, MOST_PAGES))
    }
    return treated, frozenset(state.left_standing) - others


MOST_PAGES: Final = 512
"""Of one page that are lost together: those of a superpage of 2 MiB."""


def _lost_sight(at_ms: int, case: CaseId, domain: DomainId | None, part: Part) -> ev.Progressed:
    """The end of a part of which nothing is to be seen any more: it is said so, and the case does not stay open."""
    return ev.Progressed(
        at_ms=at_ms, case=case, domain=domain, event=TAKEN_UP, state=State.UNKNOWN, row=part.row, ended=True,
        because="Ringfence ended before it did, and the host shows nothing of it any more",
    )  # fmt: skip


def _open_evidence(ledger: Ledger, cases: Mapping[CaseId, Case], alone: Alone) -> dict[CaseId, Record]:
    """The first record of each open case; what its guests were told is handed to ``alone``."""
    evidence: dict[CaseId, Record] = {}
    told: dict[StepId, tuple[CaseId, Step, Result]] = {}
    before = ledger.journal.first_of(cases) - 1
    for _, event in ledger.journal.events(before, kinds=(ev.Received, ev.AlsoSeen, ev.Intended, ev.Carried)):
        match event:
            case ev.Received() if event.case is not None and event.case in cases:
                evidence.setdefault(event.case, event.record)
            case ev.AlsoSeen() if event.case is not None and event.case in cases:
                evidence.setdefault(event.case, event.report.record)
            case ev.Intended() if event.case in cases and isinstance(event.step.step, _TOLD):
                told[event.order] = event.case, event.step.step, Result(Status.UNKNOWN)
            case ev.Carried() if event.order in told:
                case, step, _ = told[event.order]
                told[event.order] = case, step, Result(event.status, event.because, event.declared)
            case _:
                pass
    for order, (case, step, result) in told.items():
        # A vMCE that was not injected may be injected yet; a handler that failed once is not asked again.
        if isinstance(step, NotifyGuest) or result.status not in {Status.REFUSED, Status.FAILED}:
            alone.given.setdefault((case, step), deque()).append((order, result))
    return evidence


_TOLD: Final = (NotifyGuest, InjectVmce)


def _left(case: Case) -> Left:
    """What the journal knows of a case that is to be taken up."""
    standing = {
        domain: (position, part.since_ms)
        for domain, part in case.parts.items()
        if part.position and not part.ended and (position := _position(part)) is not None
    }
    ended = frozenset(domain for domain, part in case.parts.items() if part.ended)
    return Left(None if case.impact is None else _impact(case.impact), ended, standing)


def _impact(found: ev.Impacted) -> Impact:
    """The impact that the journal holds."""
    return Impact(
        consumer=Consumer(Party(found.consumer.party), Certainty(found.consumer.certainty), found.consumer.domain),
        losers=tuple(
            Loser(party=Party(each.party), domain=each.domain, pages=each.pages, unnumbered=each.unnumbered)
            for each in found.losers
        ),
        certainty=Certainty(found.certainty),
        grounds=tuple(Ground(each.row, each.because, each.cite, each.supports) for each in found.grounds),
        frames=found.frames,
        cpu=found.cpu,
    )


def ends_of_earlier_boot(ledger: Ledger) -> tuple[ev.Event, ...]:
    """The host was reset: what was open then has its outcome now, and none of its orders is carried out again.

    A domain's number may be another domain's by now. To be written together with the beginning of the new boot: a kill
    between them would leave the cases open for ever.
    """
    now_ms = ledger.now_ms
    why = "the host was reset while it was carried out: not repeated"
    events: list[ev.Event] = [
        ev.Carried(at_ms=now_ms, order=order, status=Status.UNKNOWN, because=why) for order in ledger.state.orders
    ]
    for number, case in ledger.state.cases.items():
        halting = case.evidence_saved or any(part.state in _TO_A_HALT for part in case.parts.values())
        state = State.HALTED if halting else State.UNKNOWN
        why = "the host was reset before its end was reported"
        entries = tuple(
            ev.OutcomeEntry(domain, part.state, part.row, part.because)
            if part.ended
            else ev.OutcomeEntry(domain, state, part.row, why)
            for domain, part in case.parts.items()
        )
        nothing = (ev.OutcomeEntry(None, state, Row.LAST_WORDS, why),)
        events.append(ev.Closed(at_ms=now_ms, case=number, outcome=entries or nothing))
    return tuple(events)


def known(ledger: Ledger, record: Record) -> tuple[bool, CaseId | None]:
    """Whether the journal has this record already, and the case that it belongs to.

    From the boot before the reset, or from another sink of this one. Not from further back: a machine can die of the
    same error again and again.
    """
    ledger.settle()
    earlier, present = _NOT_KNOWN, _NOT_KNOWN
    boot = ""
    before = min(last_boots(ledger.journal), default=1) - 1
    for _, event in ledger.journal.events(before, kinds=(ev.Started, ev.Received)):
        if isinstance(event, ev.Started) and event.boot != boot:
            boot, earlier, present = event.boot, present, _NOT_KNOWN
        elif isinstance(event, ev.Received) and _is_same(event.record, record):
            present = True, present[1] if present[1] is not None else event.case
    return earlier[0] or present[0], earlier[1] if earlier[1] is not None else present[1]


_NOT_KNOWN: Final[tuple[bool, CaseId | None]] = False, None


def _is_same(one: Record, other: Record) -> bool:
    """Whether two records can be of one error: the same status, and neither bank nor address that both say differs.

    A CPER record in ERST does not carry all that the banks hold, and MCA_MISC0 counts on.
    """
    if one.registers.status != other.registers.status or one.registers.status is None:
        return False
    pairs = ((one.bank, other.bank), (one.registers.addr, other.registers.addr))
    return all(mine == its for mine, its in pairs if mine is not None and its is not None)
