"""A fault from its first threshold to its end; every stage with everything that it can be told."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.diagnosis.fault_case import (
    ENDS,
    MOST_PATIENT,
    TABLE,
    Fault,
    Stage,
    Told,
    advance,
    counts_from_ms,
    is_evidence,
    may_act,
    swapped,
    threshold,
)
from ringfence.errors import IllegalEventError
from ringfence.world.situation import Suspect


def fault(stage: Stage = Stage.DIAGNOSED, *, since_ms: int = 100, failures: int = 0) -> Fault:
    return Fault(suspect=Suspect.PAGE, name="page 0x1", opened_ms=1, since_ms=since_ms, stage=stage, failures=failures)


def course(*told: Told) -> Fault:
    now = fault()
    for number, each in enumerate(told, 1):
        now = advance(now, each, 100 + number)
    return now


EXPECTED = {
    Stage.DIAGNOSED: "THRESHOLD>DIAGNOSED ACTING>ACTING NOTHING_TO_DO>UNTREATED REBOOTED>DIAGNOSED",
    Stage.ACTING: "THRESHOLD>ACTING DONE>ISOLATED FAILED>UNTREATED REBOOTED>DIAGNOSED",
    Stage.ISOLATED: "THRESHOLD>DIAGNOSED REBOOTED>DIAGNOSED",
    Stage.UNTREATED: "THRESHOLD>DIAGNOSED REBOOTED>UNTREATED",
}
ENDED_BY = "REPAIRED>REPAIRED REPLACED>REPLACED ACQUITTED>ACQUITTED"


@pytest.mark.parametrize(("stage", "told"), list(product(Stage, Told)))
def test_every_stage_with_everything_that_it_can_be_told(stage: Stage, told: Told) -> None:
    words = f"{EXPECTED[stage]} {ENDED_BY}" if stage in EXPECTED else ""
    allowed = dict(word.split(">") for word in words.split())
    if told.name in allowed:
        assert advance(fault(stage), told, 7).stage is Stage[allowed[told.name]]
    else:
        with pytest.raises(IllegalEventError) as raised:
            advance(fault(stage), told, 7)
        assert set(raised.value.allowed) == {each for state, each in TABLE if state is stage}


def test_every_live_stage_can_be_reached_and_can_be_ended() -> None:
    reached, todo = {Stage.DIAGNOSED}, [Stage.DIAGNOSED]
    while todo:
        stage = todo.pop()
        for (before, _), after in TABLE.items():
            if before is stage and after not in reached:
                reached.add(after)
                todo.append(after)
    assert reached == set(Stage)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_fault_that_ended_is_not_reopened_by_what_is_older_or_left_over(end: Stage) -> None:
    ended = fault(end, since_ms=500)
    assert not is_evidence(ended, 499)
    assert not is_evidence(ended, 500)
    assert not is_evidence(ended, 900, left_over=True)
    assert is_evidence(ended, 501)
    assert may_act(ended)
    assert counts_from_ms(ended) == 500


def test_what_was_left_over_is_evidence_for_nothing() -> None:
    assert not is_evidence(None, 5, left_over=True)
    assert not is_evidence(fault(), 5, left_over=True)
    assert is_evidence(fault(), 5)


def test_an_action_that_failed_is_tried_again_at_twice_the_errors() -> None:
    once = course(Told.ACTING, Told.FAILED)
    assert (once.failures, threshold(once, 10), counts_from_ms(once)) == (1, 20, 102)
    twice = course(Told.ACTING, Told.FAILED, Told.THRESHOLD, Told.ACTING, Told.FAILED)
    assert (twice.failures, threshold(twice, 10)) == (2, 40)
    assert may_act(twice)
    assert threshold(fault(failures=99), 10) == 10 << MOST_PATIENT


def test_what_is_out_of_use_is_not_acted_upon_again_until_a_reboot_puts_it_back() -> None:
    done = course(Told.ACTING, Told.DONE)
    assert not may_act(done)
    assert not may_act(course(Told.ACTING))
    again = advance(done, Told.REBOOTED, 300)
    assert (may_act(again), counts_from_ms(again), threshold(again, 10)) == (True, None, 10)


def test_a_rank_is_acted_upon_again_for_new_syndromes_only() -> None:
    done = replace(course(Told.ACTING, Told.DONE), suspect=Suspect.RANK)
    assert (may_act(done), counts_from_ms(done)) == (True, 102)


def test_what_nothing_can_be_done_about_is_not_looked_at_again_with_every_error() -> None:
    assert threshold(course(Told.NOTHING_TO_DO), 10) == 20


def test_who_ended_it_is_kept() -> None:
    assert advance(fault(), Told.ACQUITTED, 9, who="root").who == "root"


@given(st.lists(st.sampled_from(Told), max_size=30))
def test_an_ended_fault_stays_as_it_ended_and_failures_never_shrink(told: list[Told]) -> None:
    now = fault()
    for number, each in enumerate(told):
        try:
            after = advance(now, each, 200 + number)
        except IllegalEventError:
            continue
        assert not now.ended
        assert after.failures >= now.failures
        assert after.since_ms >= now.since_ms
        now = after


def test_a_dimm_that_was_swapped_is_known_by_its_serial_number() -> None:
    before = {"A1": "1111", "B1": "2222", "C1": "", "D1": "4444"}
    now = {"A1": "1111", "B1": "9999", "C1": "3333", "D1": "", "E1": "5555"}
    assert swapped(before, now) == ("B1",)
