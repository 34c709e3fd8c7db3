"""What an earlier life or an earlier boot left open: taken up as each step's kind allows, or given its outcome (L9)."""

from __future__ import annotations

from typing import Final

from ringfence.action.carry import taken_up
from ringfence.decision.flow import State
from ringfence.decision.rows import Row
from ringfence.journal import events as ev
from ringfence.record.evidence import Record
from ringfence.service.alone import Alone
from ringfence.service.ledger import Ledger
from ringfence.world.identities import CaseId
from ringfence.world.steps import Status

_TO_A_HALT: Final = frozenset({State.SAVING_EVIDENCE, State.SPEAKING, State.HALTING, State.HALTING_AGAIN})


def take_up_orders(ledger: Ledger) -> None:
    """Go on with the orders of an earlier life of the same boot."""
    for order, known in list(ledger.state.orders.items()):
        result = taken_up(ledger.host, known.order)
        if result is None:
            ledger.attempts(known.case, known.order, "", known.attempt + 1, known.dimm)
        else:
            ledger.carried(order, result)


def take_up_cases(ledger: Ledger, alone: Alone) -> None:
    """This seat treats by itself, and forgot what it had in mind: begin each open case again from its evidence."""
    evidence: dict[CaseId, Record] = {}
    for _, event in ledger.journal.events(kinds=(ev.Received,)):
        if isinstance(event, ev.Received) and event.case in ledger.state.cases:
            evidence.setdefault(event.case, event.record)
    for number, record in evidence.items():
        parts = ledger.state.cases[number].parts
        ended = frozenset(domain for domain, part in parts.items() if part.ended)
        alone.take_up(number, record, ledger.host.situation(record), ended)
    alone.go_on()


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


def is_known(ledger: Ledger, record: Record) -> bool:
    """Whether the journal has this record already: from the boot before the reset, or from another sink of this one.

    Not from further back: a machine can die of the same error again and again.
    """
    earlier: list[Record] = []
    present: list[Record] = []
    boot = ""
    for _, event in ledger.journal.events(kinds=(ev.Started, ev.Received)):
        if isinstance(event, ev.Started) and event.boot != boot:
            boot, earlier, present = event.boot, present, []
        elif isinstance(event, ev.Received):
            present.append(event.record)
    return any(_is_same(known, record) for known in (*earlier, *present))


def _is_same(one: Record, other: Record) -> bool:
    """Whether two records can be of one error: the same status, and neither bank nor address that both say differs.

    A CPER record in ERST does not carry all that the banks hold, and MCA_MISC0 counts on.
    """
    if one.registers.status != other.registers.status or one.registers.status is None:
        return False
    pairs = ((one.bank, other.bank), (one.registers.addr, other.registers.addr))
    return all(mine == its for mine, its in pairs if mine is not None and its is not None)
