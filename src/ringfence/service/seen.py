"""What a record is counted by, and the trends that the history of corrected errors shows (II.1, B.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ringfence.decision.policy import Trends
from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.fault_case import counts_from_ms, may_act, threshold
from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.serd import Engine, SerdRule, fold_all
from ringfence.diagnosis.severity import Severity
from ringfence.diagnosis.spread import Sighting, dimm_of, rank_of, spread_of
from ringfence.diagnosis.suspects import Suspicion, suspects
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal.faults import counted_by, sighting_of
from ringfence.journal.state import HISTORY_MS, State
from ringfence.record.evidence import Location
from ringfence.world.identities import PAGE_SHIFT, CaseId, CpuId, Frame
from ringfence.world.situation import Suspect, Trend

ACCUSED_KEPT: Final = 8
"""Suspects that one event of the journal names, the best first."""

EXPECTED_UE_MS: Final = 24 * 3600 * 1000
"""When distinct syndromes of a rank let one expect an uncorrected error: hours to days ahead (msg01049); a day."""


def frame_of(finding: Finding) -> Frame | None:
    """The host frame that a finding names: Xen's word first, as it may have overwritten MCi_ADDR."""
    hypervisor = finding.record.hypervisor
    if hypervisor is not None and hypervisor.machine_frame is not None:
        return Frame(hypervisor.machine_frame)
    address = finding.reading.address
    if address.names_a_page and address.value is not None:
        return Frame(address.value >> PAGE_SHIFT)
    return None


def received(  # noqa: PLR0913 (one argument a fact)
    finding: Finding,
    *,
    at_ms: int,
    token: Token | None,
    case: CaseId | None,
    urgent: bool,
    part: int,
    sink: str | None,
    count: int | None = None,
) -> ev.Received:
    """The journal's event for a record; ``sink`` is set for what an earlier boot left, ``count`` where the source has
    counted the errors itself.
    """
    location, record = finding.reading.location, finding.record
    kind = finding.reading.unit_kind
    in_core = kind is UnitKind.CORE
    if location.socket is None and record.socket is not None:
        location = replace(location, socket=record.socket)
    syndrome = location.syndrome if location.syndrome is not None else record.registers.synd
    return ev.Received(
        at_ms=at_ms,
        token=token,
        case=case,
        urgent=urgent,
        record=record,
        severity=finding.severity,
        summary=finding.summary,
        part=part,
        left_over=sink is not None,
        sink=sink or "",
        corrected=finding.severity is Severity.CORRECTED and sink is None,
        count=max(1, count or finding.reading.corrected_count or record.count),
        frame=frame_of(finding),
        rank=None if in_core else rank_of(location),
        dimm=None if in_core else dimm_of(location),
        core=f"CPU {record.cpu}" if in_core and record.cpu is not None else None,
        syndrome=syndrome,
        place=_place(location),
        unit="" if kind is UnitKind.MEMORY else finding.reading.unit,
        unit_kind=kind,
    )


def _place(location: Location) -> tuple[tuple[str, int | str], ...]:
    """What is known of a location, by the names of its fields."""
    return tuple((name, value) for name in Location.__slots__ if (value := getattr(location, name)) is not None)


@dataclass(frozen=True, slots=True)
class Found:
    """A part whose errors have passed its threshold, and what their spread points at."""

    trend: Trend
    suspicion: Suspicion


Rules = Mapping[Suspect, SerdRule]
"""The threshold of each kind of part that has one."""


def rules_of(trends: Trends) -> Rules:
    """The thresholds that a policy sets."""
    rules = ((suspect, trends.rule(suspect)) for suspect in Suspect)
    return {suspect: rule for suspect, rule in rules if rule is not None}


def trends_of(event: ev.Received, state: State, rules: Rules) -> tuple[Found, ...]:
    """The parts that a corrected error counts for and that have passed their threshold by it.

    The history is the journal's, so that it outlives this process. A part that is being dealt with or is out of use is
    not found again, nor one of which too little was seen since the last try (``diagnosis.fault_case``).
    """
    found: list[Found] = []
    for suspect, counted in counted_by(event, sighting_of(event)):
        name = f"page {counted}" if suspect is Suspect.PAGE else counted
        rule, fault = rules.get(suspect), state.faults.of(suspect, name)
        if rule is None or not may_act(fault):
            continue
        if (n := threshold(fault, rule.n)) != rule.n:
            rule = replace(rule, n=n)
        # A bucket holds what neighbouring windows left in it.
        reaches_ms = rule.window_ms if rule.engine is Engine.WINDOW else HISTORY_MS
        after_ms = state.now_ms - reaches_ms
        if (since_ms := counts_from_ms(fault)) is not None:
            after_ms = max(after_ms, since_ms)
        history = state.history.get((suspect, counted), ())
        if _fires(rule, history, after_ms):
            seen = tuple(each for each in history if each.at_ms > after_ms)
            found.append(Found(_trend(suspect, name, rule, seen, event, state), suspects(spread_of(seen))))
    return tuple(found)


def _fires(rule: SerdRule, history: Sequence[Sighting], after_ms: int) -> bool:
    """Whether what was seen later than ``after_ms`` is too much; ``history`` is oldest first.

    All of it lies within one window, so that an engine of that kind need not be gone through error by error: the
    newest few tell.
    """
    if rule.engine is Engine.BUCKET:
        return fold_all(rule, ((each.at_ms, each.count) for each in history if each.at_ms > after_ms)).fired
    errors, syndromes = 0, set[int]()
    for each in reversed(history):
        if each.at_ms <= after_ms:
            break
        if rule.distinct:
            if each.syndrome is not None:
                syndromes.add(each.syndrome)
        else:
            errors += each.count
        if errors >= rule.n or len(syndromes) >= rule.n:
            return True
    return False


def _trend(  # noqa: PLR0913, PLR0917 (one argument a fact)
    suspect: Suspect, name: str, rule: SerdRule, seen: tuple[Sighting, ...], event: ev.Received, state: State
) -> Trend:
    cpu = event.record.cpu
    return Trend(
        suspect=suspect,
        name=name,
        count=sum(each.count for each in seen),
        distinct_syndromes=_distinct(seen),
        window_ms=rule.window_ms,
        expected_ue_ms=EXPECTED_UE_MS if suspect is Suspect.RANK else None,
        frames=(event.frame,) if suspect is Suspect.PAGE and event.frame is not None else (),
        cpu=CpuId(cpu) if suspect is Suspect.CORE and cpu is not None else None,
        offlined=state.pages_offlined(event.dimm or "") if suspect is Suspect.PAGE else 0,
    )


def _distinct(seen: tuple[Sighting, ...]) -> int:
    """How many different syndromes; errors without a syndrome say nothing about it."""
    return len({each.syndrome for each in seen if each.syndrome is not None})


def trend_seen(found: Found, at_ms: int, case: CaseId | None) -> ev.TrendSeen:
    """The journal's event for it; ``case`` acts on it, if one does."""
    trend = found.trend
    return ev.TrendSeen(
        at_ms=at_ms,
        suspect=trend.suspect,
        name=trend.name,
        count=trend.count,
        distinct=trend.distinct_syndromes,
        window_ms=trend.window_ms,
        expected_ue_ms=trend.expected_ue_ms,
        frames=trend.frames,
        cpu=trend.cpu,
        case=case,
        accused=tuple(
            ev.Accused(
                suspect=each.suspect, name=each.name, rule=each.rule, grade=each.grade, errors=each.errors,
                places=each.places, distinct=each.distinct, speaks_for=each.speaks_for,
                speaks_against=each.speaks_against,
            )
            for each in found.suspicion.suspects[:ACCUSED_KEPT]
        ),
        left_off=found.suspicion.left_off + max(0, len(found.suspicion.suspects) - ACCUSED_KEPT),
    )  # fmt: skip
