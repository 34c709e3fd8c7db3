"""The journal's events for what the two seats judge, decide and cost: one wording each, whoever writes it."""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.decision.feasibility import Costed
from ringfence.decision.rows import Because, Row
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.world.identities import CaseId, DomainId
from ringfence.world.situation import Seat
from ringfence.world.treatment import Dom0Says, Entry


def judged(entry: Entry, seat: Seat, at_ms: int, token: Token | None) -> list[ev.Event]:
    """``seat`` says whom the error hit, and why it decided so; it came by the arrival ``token``, if by any."""
    events: list[ev.Event] = []
    found = entry.judgement
    if found is not None:
        consumer, *losers = (
            ev.Hit(
                party=each.party,
                certainty=each.certainty,
                domain=each.domain,
                pages=each.pages,
                unnumbered=each.unnumbered,
            )
            for each in (found.consumer, *found.losers)
        )
        events.append(
            ev.Impacted(
                at_ms=at_ms,
                case=entry.case,
                consumer=consumer,
                losers=tuple(losers),
                certainty=found.certainty,
                grounds=tuple(
                    ev.Reason(why.row, why.because, why.rests_on, supports) for why, supports in found.grounds
                ),
                frames=found.frames,
                cpu=found.cpu,
                consumed=found.consumed,
            )
        )
    events.append(
        ev.Decided(
            at_ms=at_ms,
            case=entry.case,
            domain=entry.domain,
            seat=seat,
            row=entry.row,
            reasons=tuple(ev.Reason(why.row, why.because, why.rests_on) for why in entry.reasons),
            token=token,
        )
    )
    return events


def decided(  # noqa: PLR0913 (one argument a field)
    at_ms: int,
    case: CaseId,
    domain: DomainId | None,
    row: Row,
    reasons: Iterable[Because],
    *,
    answer: Dom0Says | None = None,
    costed: tuple[str, ...] = (),
) -> ev.Decided:
    """What Dom0's seat decided for a domain of a case (None: for the host)."""
    return ev.Decided(
        at_ms=at_ms,
        case=case,
        domain=domain,
        seat=Seat.DOM0,
        row=row,
        answer=answer,
        reasons=tuple(ev.Reason(each.row, each.because, each.rests_on) for each in reasons),
        costed=costed,
    )


def sums(operations: Iterable[Costed]) -> tuple[str, ...]:
    """B.6's sum of each operation, in words."""
    return tuple(f"{each.operation}: {line}" for each in operations for line in each.sum)
