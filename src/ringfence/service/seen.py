"""What a record is counted by, and the trends that the history of corrected errors shows (II.1, B.8)."""

from __future__ import annotations

from typing import Final

from ringfence.decision.policy import Trends
from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.severity import Severity
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal.state import Sighting, State
from ringfence.record.evidence import Location
from ringfence.world.identities import PAGE_SHIFT, CaseId, CpuId, Frame
from ringfence.world.situation import Suspect, Trend

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


def dimm_of(location: Location) -> str | None:
    """The name of the module: its label, or the numbers down to the slot; None if the channel is not known."""
    if location.label:
        return location.label
    if location.channel is None:
        return None
    parts = (
        ("socket", location.socket),
        ("controller", location.controller),
        ("channel", location.channel),
        ("slot", location.slot),
    )
    return " ".join(f"{name} {number}" for name, number in parts if number is not None)


def rank_of(location: Location) -> str | None:
    """The name of the rank (chip select) within its module; None if the module is not known."""
    dimm = dimm_of(location)
    if dimm is None:
        return None
    rank = location.rank if location.rank is not None else location.csrow
    return dimm if rank is None else f"{dimm} rank {rank}"


def received(  # noqa: PLR0913 (one argument a fact)
    finding: Finding, *, at_ms: int, token: Token, case: CaseId | None, urgent: bool, part: int, sink: str | None
) -> ev.Received:
    """The journal's event for a record; ``sink`` is set for what an earlier boot left."""
    location, record = finding.reading.location, finding.record
    in_core = finding.reading.unit_kind is UnitKind.CORE
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
        count=max(1, finding.reading.corrected_count or record.count),
        frame=frame_of(finding),
        rank=None if in_core else rank_of(location),
        dimm=None if in_core else dimm_of(location),
        core=f"CPU {record.cpu}" if in_core and record.cpu is not None else None,
        syndrome=syndrome,
    )


def trends_of(event: ev.Received, state: State, wanted: Trends) -> tuple[Trend, ...]:
    """The trends that a corrected error belongs to, as the history stands after it."""
    found: list[Trend] = []
    if event.frame is not None:
        window_ms = wanted.page_window_s * 1000
        seen = state.seen(Suspect.PAGE, f"{event.frame:#x}", window_ms)
        found.append(
            Trend(
                suspect=Suspect.PAGE,
                name=f"page {event.frame:#x}",
                count=_count(seen),
                distinct_syndromes=_distinct(seen),
                window_ms=window_ms,
                frames=(event.frame,),
                offlined=state.pages_offlined(event.dimm or ""),
            )
        )
    if event.rank is not None:
        window_ms = wanted.rank_window_s * 1000
        seen = state.seen(Suspect.RANK, event.rank, window_ms)
        distinct = _distinct(seen)
        found.append(
            Trend(
                suspect=Suspect.RANK,
                name=event.rank,
                count=_count(seen),
                distinct_syndromes=distinct,
                window_ms=window_ms,
                expected_ue_ms=EXPECTED_UE_MS if distinct >= wanted.rank_syndromes else None,
            )
        )
    if event.core is not None and event.record.cpu is not None:
        window_ms = wanted.page_window_s * 1000
        seen = state.seen(Suspect.CORE, event.core, window_ms)
        found.append(
            Trend(
                suspect=Suspect.CORE,
                name=event.core,
                count=_count(seen),
                distinct_syndromes=_distinct(seen),
                window_ms=window_ms,
                cpu=CpuId(event.record.cpu),
            )
        )
    return tuple(found)


def _count(seen: tuple[Sighting, ...]) -> int:
    return sum(each.count for each in seen)


def _distinct(seen: tuple[Sighting, ...]) -> int:
    """How many different syndromes; errors without a syndrome say nothing about it."""
    return len({each.syndrome for each in seen if each.syndrome is not None})
