"""Too many errors within a time: windows, buckets, what others use, and the laws that an engine keeps."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.diagnosis.serd import KNOWN, NEW, Engine, SerdRule, fold, fold_all

HOUR_MS = 3_600_000
RULES = {rule.name: rule for rule in KNOWN}


def after(rule: SerdRule, *errors: tuple[float, int]) -> bool:
    return fold_all(rule, ((int(hours * HOUR_MS), count) for hours, count in errors)).fired


@pytest.mark.parametrize("rule", KNOWN, ids=lambda rule: rule.name)
def test_every_known_rule_fires_at_its_number_and_not_one_before(rule: SerdRule) -> None:
    assert not fold(rule, NEW, 5, rule.n - 1).fired
    assert fold(rule, NEW, 5, rule.n).fired
    assert rule.source


def test_ten_errors_of_a_page_in_a_day_are_too_many_and_over_two_days_they_are_not() -> None:
    rule = replace(RULES["mcelog page of old"], engine=Engine.WINDOW)
    assert after(rule, *((n * 2.4, 1) for n in range(10)))
    assert not after(rule, *((n * 4.8, 1) for n in range(10)))


def test_a_window_ends_at_the_newest_error_and_its_edge_counts() -> None:
    rule = SerdRule(name="two", n=2, window_s=3600, source="")
    assert after(rule, (0, 1), (1, 1))
    assert not fold_all(rule, [(0, 1), (HOUR_MS + 1, 1)]).fired


def test_a_bucket_adds_up_what_came_in_neighbouring_windows_as_mcelogs_does() -> None:
    """mcelog leaky-bucket.c, bucket_age: nothing flows out before agetime is over, then a share of the time gone."""
    bucket = SerdRule(name="ten", n=10, window_s=24 * 3600, source="", engine=Engine.BUCKET)
    assert after(bucket, (0, 1), (23, 8), (23.5, 1))
    assert not after(bucket, (0, 9), (24, 9))
    assert not after(replace(bucket, engine=Engine.WINDOW), (0, 5), (36, 5))
    # 5 at hour 0; at hour 23 some 4 more: 9. At hour 30 12.5 would have flown out: none is left.
    assert fold_all(bucket, [(0, 5), (23 * HOUR_MS, 4), (30 * HOUR_MS, 9)]).level == 9


def test_an_engine_that_fired_says_when_and_stays_fired() -> None:
    state = fold_all(RULES["illumos rank"], [(1, 1), (2, 1), (3, 1), (10**12, 1)])
    assert (state.fired_ms, state.total) == (3, 4)


def test_illumos_counts_more_than_n() -> None:
    """fmd_serd.c: sg_count > sg_n. Its N=2 is the third error of a rank within 72 h."""
    assert not after(RULES["illumos rank"], (0, 1), (71, 1))
    assert after(RULES["illumos rank"], (0, 1), (71, 1), (72, 1))


rules = st.builds(
    SerdRule, name=st.just("r"), n=st.integers(1, 12), window_s=st.integers(1, 100), source=st.just(""),
    engine=st.sampled_from(Engine),
)  # fmt: skip
errors = st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 4)), max_size=30)


@given(rules, st.lists(st.tuples(st.integers(0, 999), st.integers(1, 4)), min_size=1, max_size=20), st.randoms())
def test_within_one_window_the_order_of_arrival_does_not_matter(
    rule: SerdRule, within: list[tuple[int, int]], chance: Random
) -> None:
    shuffled = sorted(within, key=lambda _: chance.random())
    one, other = fold_all(rule, within), fold_all(rule, shuffled)
    assert one.fired == other.fired == (sum(count for _, count in within) >= rule.n)
    assert one.total == other.total


@given(rules, errors, st.tuples(st.integers(0, 300_000), st.integers(1, 4)))
def test_one_more_error_never_lowers_a_count_or_takes_back_a_firing(
    rule: SerdRule, errors: list[tuple[int, int]], more: tuple[int, int]
) -> None:
    before = fold_all(rule, errors)
    after = fold(rule, before, *more)
    assert after.total == before.total + more[1]
    assert after.fired >= before.fired


@given(rules, st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 4)), max_size=30))
def test_many_errors_at_once_come_to_what_they_come_to_one_by_one(
    rule: SerdRule, errors: list[tuple[int, int]]
) -> None:
    state = NEW
    for at_ms, count in errors:
        state = fold(rule, state, at_ms, count)
    assert fold_all(rule, errors) == state


@given(rules, errors)
def test_what_is_remembered_is_bounded_and_the_total_is_exact(rule: SerdRule, errors: list[tuple[int, int]]) -> None:
    state = fold_all(rule, errors)
    assert len(state.recent) <= rule.n
    assert state.total == sum(count for _, count in errors)


@given(rules.filter(lambda rule: rule.engine is Engine.WINDOW), errors)
def test_a_window_fires_exactly_if_some_window_holds_enough(rule: SerdRule, errors: list[tuple[int, int]]) -> None:
    ordered = sorted(errors)
    most = max((sum(n for at, n in ordered if end - rule.window_ms <= at <= end) for end, _ in ordered), default=0)
    assert fold_all(rule, ordered).fired == (most >= rule.n)
