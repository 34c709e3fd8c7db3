"""The proof by exhaustion: every law holds on every way, everything declared is reached, and each bug is found."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from ringfence.decision.enumeration import (
    count_paths,
    dom0_beginnings,
    domu_beginnings,
    enumerate_parts,
    host_beginnings,
    loops,
)
from ringfence.decision.enumeration_entry import enumerate_entries
from ringfence.decision.enumeration_explorer import Beginning
from ringfence.decision.enumeration_report import Report
from ringfence.decision.flow import TABLE, State
from ringfence.decision.rows import Row
from ringfence.service.enumeration import SHOWN_BY, enumerate_pairs, merged
from ringfence.service.pair_explorer import GUESTS, ON_ONE_DOMAIN
from ringfence.views.enumeration import enumeration_text
from tests.decision.bugs import BUGS, Bug, FoundBy
from tests.service.test_pairs import some_pairs


@cache
def parts() -> Report:
    return enumerate_parts()


@cache
def entries() -> Report:
    return enumerate_entries()


def test_no_part_can_break_a_law() -> None:
    assert parts().broken == ()


def test_no_beginning_answer_or_act_ahead_breaks_a_law() -> None:
    assert entries().broken == ()


def test_every_edge_of_the_table_and_every_state_is_reached() -> None:
    assert parts().missing == ()
    assert parts().edges == {(edge.state, edge.event) for edge in TABLE}
    assert parts().flow_states == frozenset(State)


def test_every_first_row_and_every_severity_is_reached() -> None:
    assert entries().missing == ()


def test_every_row_of_the_concept_is_reached() -> None:
    shown = {SHOWN_BY[state] for state in parts().flow_states if state in SHOWN_BY}
    assert set(Row) - parts().rows - entries().rows - shown == set()


def test_every_way_ends_and_there_are_many() -> None:
    assert parts().paths > 10**12
    assert parts().beginnings > 900


def test_every_outcome_of_a_domu_is_an_end_that_says_what_became_of_it() -> None:
    assert len(parts().outcomes) == 3 * 3 * 2 * 2 * 2
    for outcome in parts().outcomes:
        assert State.KILLED in outcome.ends
        if "consumed" in outcome.what:
            assert State.STUCK not in outcome.ends, "who consumed the error does not live on untold"
        if "hurt or no handler" in outcome.what:
            assert not {Row.ASK_DOM0, Row.PV_DOM0, Row.HVM_DOM0} & set(outcome.rows)


def test_a_way_round_is_seen() -> None:
    assert count_paths([{1: 1}, {0: 1, 2: 1}, {}]) is None
    assert count_paths([{1: 2, 2: 1}, {2: 3}, {}]) == 7
    back = {(State.ASKING, State.TELLING), (State.TELLING, State.ASKING), (State.TELLING, State.KILLING)}
    assert loops(back) == {frozenset({State.ASKING, State.TELLING})}


def quick_beginnings() -> Iterator[Beginning]:
    """Two pages that are numbered, PV and HVM, Dom0 able at first; who has most to go wrong comes first."""
    guests = [
        beginning
        for beginning in domu_beginnings()
        if beginning.facts.vmce
        and beginning.facts.numbered
        and beginning.facts.dom0_able
        and beginning.facts.kind != "PVH"
        and len(beginning.subject.pages) == 2
    ]
    yield from reversed(guests)
    yield from host_beginnings()


def run(bug: Bug) -> Report:
    match bug.found_by:
        case FoundBy.PARTS:
            return enumerate_parts(quick_beginnings(), until=bug.law)
        case FoundBy.BEGINNINGS:
            return enumerate_entries(until=bug.law)
        case FoundBy.PAIRS:
            return enumerate_pairs(some_pairs(), until=bug.law)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_breaks_its_law(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    report = run(bug)
    found = [broken for broken in report.broken if broken.law is bug.law]
    assert found, f"{bug.law} should fail, and these did: {report.broken}"


def test_the_text_says_how_much_was_gone_through_and_which_way_leads_to_a_broken_law(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = enumerate_parts(dom0_beginnings())
    good = enumeration_text((report,), (), ())
    assert f"every part                       {report.beginnings} " in good
    assert good.endswith("Every law holds, every row and every edge of the flow is reached, and every way ends.\n")
    BUGS[0].plant(monkeypatch)
    broken = enumerate_parts(quick_beginnings(), until=BUGS[0].law).broken
    bad = enumeration_text((report,), ("row: II.4",), broken)
    assert "not reached: row: II.4\nL1 broken: " in bad
    assert "    1. begins" in bad


def test_shares_of_the_pairs_add_up_to_the_whole() -> None:
    some = [(guest, *pair, False) for guest in GUESTS[:2] for pair in ON_ONE_DOMAIN[:4]]
    shares = [enumerate_pairs(pair for pair in some if pair[0] == guest) for guest in GUESTS[:2]]
    assert merged(shares) == enumerate_pairs(some)
