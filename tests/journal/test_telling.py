"""What is told of a case that outlives a boot: on one clock, in the order in which it happened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal.lives import life_of
from ringfence.journal.telling import on_one_clock
from ringfence.world.identities import CaseId, DomainId

CASE = CaseId(7)


def started(at_ms: int, wall_ms: int | None, life: int) -> ev.Started:
    return ev.Started(
        at_ms=at_ms, life=life, version="1", hypervisor="model", boot=str(life), wall_ms=wall_ms, policy_digest=""
    )


def asked(at_ms: int) -> ev.Asked:
    return ev.Asked(at_ms=at_ms, case=CASE, domain=DomainId(3), deadline_ms=at_ms + 2_000, token=Token(1))


def closed(at_ms: int) -> ev.Closed:
    return ev.Closed(at_ms=at_ms, case=CASE, outcome=())


def test_a_clock_that_begins_anew_with_a_boot_does_not_put_the_end_before_the_beginning() -> None:
    lives = [life_of(1, started(0, 1_000_000, 1)), life_of(5, started(0, 1_060_000, 2))]
    told = on_one_clock([(2, asked(30_000)), (6, closed(10)), (7, asked(20))], lives)
    assert told.epoch_ms == 1_000_000
    assert [each.at_ms for _, each in told.events] == [30_000, 60_010, 60_020]
    again = told.events[2][1]
    assert isinstance(again, ev.Asked)
    assert again.deadline_ms == 62_020


def test_a_wall_clock_that_was_set_back_meanwhile_does_not_either() -> None:
    lives = [life_of(1, started(0, 1_000_000, 1)), life_of(5, started(0, 400_000, 2))]
    told = on_one_clock([(2, asked(30_000)), (6, closed(10)), (7, closed(15))], lives)
    assert [each.at_ms for _, each in told.events] == [30_000, 30_000, 30_005]


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.none() | st.integers(0, 10**12)), min_size=1, max_size=5),
    st.lists(st.integers(0, 10**6), max_size=20),
)
def test_a_later_life_is_never_told_before_an_earlier_one(
    begun: list[tuple[int, int | None]], times: list[int]
) -> None:
    lives = [life_of(10 * place, started(at, wall, place)) for place, (at, wall) in enumerate(begun)]
    numbered = [(place * 10 * len(begun) // max(1, len(times)), closed(at)) for place, at in enumerate(times)]
    told = on_one_clock(numbered, lives).events
    assert [number for number, _ in told] == [number for number, _ in numbered]
    of_life = [max(0, number // 10) for number, _ in told]
    for (_, one), life, (_, two), later in zip(told, of_life, told[1:], of_life[1:], strict=False):
        assert life == later or one.at_ms <= two.at_ms
