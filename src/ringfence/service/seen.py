"""What a record is counted by, and the trends that the history of corrected errors shows (II.1, B.8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
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
from ringfence.journal.faults import Key, counted_by, sighting_of
from ringfence.journal.state import HISTORY_MS, State
from ringfence.quick import changed
from ringfence.record.evidence import Location
from ringfence.record.repeats import Repeats
from ringfence.world.identities import PAGE_SHIFT, CaseId, CpuId, Frame
from ringfence.world.situation import Suspect, Trend

ACCUSED_KEPT: Final = 8
"""Suspects that one event of the journal names, the best first."""


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
        location = changed(location, socket=record.socket)
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


def repeated(finding: Finding, repeats: Repeats, *, at_ms: int, apart: bool) -> ev.Repeated:
    """The journal's event for reports that came together, of which the first has this finding; ``apart``: each of them
    is kept.
    """
    one = received(finding, at_ms=at_ms, token=None, case=None, urgent=False, part=0, sink=None)
    varies = frozenset(each.name for each in finding.reading.placed if not repeats.alike and each.register in _VARYING)
    return ev.Repeated(
        at_ms=at_ms,
        record=one.record,
        severity=one.severity,
        summary=one.summary,
        reports=repeats.reports,
        # Those named last stand last, as if they had come one by one.
        pages=tuple(reversed(Counter(reversed(pages_of(finding, repeats))).items())),
        packed=repeats.packed if apart else b"",
        struct_bytes=repeats.struct_bytes,
        last_s=repeats.last_s,
        alike=repeats.alike,
        corrected=one.corrected,
        count=one.count,
        rank=None if varies & _OF_RANK else one.rank,
        dimm=None if varies & _OF_DIMM else one.dimm,
        core=one.core,
        syndrome=one.syndrome if repeats.alike else None,
        place=tuple(each for each in one.place if each[0] not in varies),
        unit=one.unit,
        unit_kind=one.unit_kind,
    )


_VARYING: Final = frozenset({"misc", "synd"})
"""Registers in which reports may differ that are put together though they are not alike."""
_OF_DIMM: Final = frozenset({"socket", "controller", "channel", "slot", "label"})
_OF_RANK: Final = _OF_DIMM | {"rank", "csrow"}


def pages_of(finding: Finding, repeats: Repeats) -> list[Frame]:
    """The host frame that each of them names; empty if the addresses of their kind name none."""
    address = finding.reading.address
    if frame_of(finding) is None or address.value is None:
        return []
    mask = address.mask & -(address.granularity_bytes or 1)
    return [Frame((each & mask) >> PAGE_SHIFT) for each in repeats.addresses]


def _place(location: Location) -> tuple[tuple[str, int | str], ...]:
    """What is known of a location, by the names of its fields."""
    values = zip(_PLACES, _VALUES_OF(location), strict=True)
    return tuple([(name, value) for name, value in values if value is not None])


_PLACES: Final = tuple(each.name for each in fields(Location))
_VALUES_OF: Final = attrgetter(*_PLACES)


@dataclass(frozen=True, slots=True)
class Found:
    """A part whose errors have passed its threshold, and what their spread points at."""

    trend: Trend
    suspicion: Suspicion


EVERY_KIND: Final = frozenset(Suspect)
"""Every kind of part that errors are counted for."""

Rules = Mapping[Suspect, SerdRule]
"""The threshold of each kind of part that has one."""


def rules_of(trends: Trends) -> Rules:
    """The thresholds that a policy sets."""
    rules = ((suspect, trends.rule(suspect)) for suspect in Suspect)
    return {suspect: rule for suspect, rule in rules if rule is not None}


@dataclass(frozen=True, slots=True)
class Where:
    """What an error names beside the part that it counts for: the CPU that reported, its DIMM, its page."""

    cpu: int | None
    dimm: str | None
    frame: Frame | None


def trends_of(
    event: ev.Received, state: State, rules: Rules, only: Collection[Suspect] = EVERY_KIND
) -> tuple[Found, ...]:
    """The parts that a corrected error counts for (those of the kinds ``only``) and that have passed their threshold by
    it. An error that is heard of late is held against what was seen until it happened.
    """
    where = Where(event.record.cpu, event.dimm, event.frame)
    keys = (key for key in counted_by(event, sighting_of(event)) if key[0] in only)
    found = (trend_of(key, where, state, rules, until_ms=event.happened_ms) for key in keys)
    return tuple(each for each in found if each is not None)


def trend_of(key: Key, where: Where, state: State, rules: Rules, *, until_ms: int | None = None) -> Found | None:
    """What is found of a part that was just counted for, if it has passed its threshold (by what was seen until then).

    The history is the journal's, so that it outlives this process. A part that is being dealt with or is out of use is
    not found again, nor one of which too little was seen since the last try (``diagnosis.fault_case``).
    """
    suspect, counted = key
    name = f"page {counted}" if suspect is Suspect.PAGE else counted
    rule, fault = rules.get(suspect), state.faults.of(suspect, name)
    if rule is None or not may_act(fault):
        return None
    if (n := threshold(fault, rule.n)) != rule.n:
        rule = replace(rule, n=n)
    # A bucket holds what neighbouring windows left in it.
    reaches_ms = rule.window_ms if rule.engine is Engine.WINDOW else HISTORY_MS
    after_ms = (state.now_ms if until_ms is None else until_ms) - reaches_ms
    if (since_ms := counts_from_ms(fault)) is not None:
        after_ms = max(after_ms, since_ms)
    history: Sequence[Sighting] = state.sightings(key)
    if until_ms is not None:
        history = [each for each in history if each.at_ms <= until_ms]
    if not _fires(rule, history, after_ms):
        return None
    seen = tuple(each for each in history if each.at_ms > after_ms)
    return Found(_trend(suspect, name, rule, seen, where, state), suspects(spread_of(seen)))


def _fires(rule: SerdRule, history: Sequence[Sighting], after_ms: int) -> bool:
    """Whether what was seen later than ``after_ms`` is too much; ``history`` is oldest first.

    All of it lies within one window, so that an engine of that kind need not be gone through error by error: the
    newest few tell.
    """
    if rule.engine is Engine.BUCKET:
        return fold_all(rule, ((each.at_ms, each.count) for each in history if each.at_ms > after_ms)).fired
    if rule.distinct and history and history[-1].syndrome is None:
        return False  # an error without a syndrome adds none
    errors, syndromes = 0, set[int]()
    for each in reversed(history):
        if each.at_ms <= after_ms:
            break
        if not rule.distinct:
            errors += each.count
            if errors >= rule.n:
                return True
        elif each.syndrome is not None:
            syndromes.add(each.syndrome)
            if len(syndromes) >= rule.n:
                return True
    return False


def _trend(  # noqa: PLR0913, PLR0917 (one argument a fact)
    suspect: Suspect, name: str, rule: SerdRule, seen: tuple[Sighting, ...], where: Where, state: State
) -> Trend:
    return Trend(
        suspect=suspect,
        name=name,
        count=sum(each.count for each in seen),
        distinct_syndromes=_distinct(seen),
        window_ms=rule.window_ms,
        frames=(where.frame,) if suspect is Suspect.PAGE and where.frame is not None else (),
        cpu=CpuId(where.cpu) if suspect is Suspect.CORE and where.cpu is not None else None,
        offlined=state.pages_offlined(where.dimm or "") if suspect is Suspect.PAGE else 0,
    )


def expecting(trend: Trend, trends: Trends) -> Trend:
    """A trend with how soon an uncorrected error is to be expected by it (B.8)."""
    return replace(trend, expected_ue_ms=trends.rank_ue_ms) if trend.suspect is Suspect.RANK else trend


def standing(state: State, trends: Trends) -> tuple[Trend, ...]:
    """The ranks that have let one expect an uncorrected error, and were not mended or acquitted since (B.8)."""
    return tuple(
        Trend(
            suspect=suspect,
            name=name,
            count=sum(each.count for each in state.sightings((suspect, name))),
            distinct_syndromes=_distinct(tuple(state.sightings((suspect, name)))),
            window_ms=trends.rank_window_s * 1000,
            expected_ue_ms=trends.rank_ue_ms,
        )
        for (suspect, name), fault in state.faults.known.items()
        if suspect is Suspect.RANK and not fault.ended
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
