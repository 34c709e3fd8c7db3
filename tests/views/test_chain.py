"""The chain of a case reads as sentences that are true."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.diagnosis.fault_case import Ending
from ringfence.journal import events as ev
from ringfence.record.evidence import Format, Origin, Record
from ringfence.views.chain import Listed, link, listing
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame
from ringfence.world.situation import Seat, Suspect

CASE, NAMES = CaseId(1), {DomainId(5): "web1"}
GUEST = DomainId(5)


def impact(party: str, certainty: str, *losers: DomainId) -> ev.Impacted:
    hits = tuple(ev.Hit(party="DomU", certainty=certainty, domain=each) for each in losers)
    return ev.Impacted(
        at_ms=0, case=CASE, consumer=ev.Hit(party=party, certainty=certainty), losers=hits, certainty=certainty
    )


def storm(reports: int, **more: Any) -> ev.Repeated:
    record = Record(origin=Origin("-"), format=Format.STRUCT_MCE, raw=b"")
    return ev.Repeated(
        at_ms=0,
        record=record,
        severity="CORRECTED",
        summary="a corrected error",
        reports=reports,
        corrected=True,
        **more,
    )


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (impact("nobody", "proven"), "nobody took the error in; nobody lost anything (proven)"),
        (
            impact("nobody", "unconfined"),
            "who took the error in cannot be told (unconfined); who lost something cannot be told (unconfined)",
        ),
        (
            impact("hypervisor", "unconfined", GUEST),
            "hypervisor took the error in (unconfined); web1 lost something, and perhaps others did (unconfined)",
        ),
        (
            ev.Asked(at_ms=0, case=CASE, domain=GUEST, deadline_ms=2_000),
            "Dom0 is asked what shall become of web1, until 00:00:02.000",
        ),
        (
            ev.Asked(at_ms=0, case=CASE, domain=GUEST, deadline_ms=2_000, operate=True),
            "Dom0 is asked to operate on web1, until 00:00:02.000",
        ),
        (ev.Decided(at_ms=0, case=CASE, domain=None, seat=Seat.DOM0, row="II.1"), "in Dom0's seat"),
        (ev.Decided(at_ms=0, case=CASE, domain=None, seat=Seat.HYPERVISOR, row="I.2n"), "in the hypervisor's seat"),
        (
            ev.TrendSeen(at_ms=0, suspect=Suspect.PAGE, name="page 0x5", count=10, distinct=1, window_ms=86_400_000),
            "10 corrected errors of page 0x5 within 24 h, 1 distinct syndrome",
        ),
        (
            storm(1_234, pages=((Frame(5), 1_000), (Frame(6), 234)), packed=b"x"),
            "1,234 reports together: a corrected error; 2 pages named",
        ),
        (
            storm(70_000, count=2, alike=False),
            "70,000 reports together, of 2 errors each: a corrected error (the first of them; the others are of its "
            "kind); kept by number and page, not one by one",
        ),
        (
            ev.Progressed(at_ms=0, case=CASE, domain=GUEST, event="trend", state="carrying_out", row="II.1"),
            "web1: carrying out",
        ),
    ],
)
def test_an_event_in_words(event: ev.Event, says: str) -> None:
    found = link(event, NAMES)
    assert found is not None and found.text == says


def test_a_trend_names_its_suspects_with_what_speaks_for_and_against() -> None:
    row = ev.Accused(
        suspect=Suspect.ROW, name="A1 bank 3 row 0x12", rule="row", grade="likely", errors=9, places=2,
        speaks_for=("one row at several columns", "9 errors in 2 places: 2 columns"), speaks_against=("two only",),
    )  # fmt: skip
    trend = ev.TrendSeen(
        at_ms=0, suspect=Suspect.DIMM, name="A1", count=10, distinct=1, window_ms=86_400_000, case=CASE, accused=(row,)
    )
    told = link(trend, {})
    assert told is not None
    assert told.details == ("likely suspect: row A1 bank 3 row 0x12, 9 errors in 2 places: 2 columns; but two only",)


def test_what_ends_a_fault_and_what_outlives_a_reboot_are_told() -> None:
    again = link(ev.KnownBad(at_ms=0, case=CASE, pages=3, cpus=(CpuId(7),)), {})
    swapped = link(ev.Cleared(at_ms=0, suspect=Suspect.DIMM, name="A1", how=Ending.REPLACED, who="root"), {})
    assert again is not None
    assert swapped is not None
    assert again.text == "3 pages and CPU 7, judged bad before the reboot, leave use again"
    assert swapped.text == "DIMM A1: replaced by root"


def test_a_storm_stands_in_the_listing_with_all_of_its_reports() -> None:
    listed = Listed()
    listed.add(7, storm(1_234))
    listed.add(9, storm(6))
    assert list(listing(listed))[-1].strip() == "9  a corrected error (1240 times; the last)"
