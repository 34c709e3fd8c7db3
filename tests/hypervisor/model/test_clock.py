"""Simulated time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.hypervisor.model.clock import Clock


@given(st.lists(st.integers(0, 5), max_size=20))
def test_events_run_in_the_order_of_their_instants_and_ties_in_the_order_in_which_they_were_put_in(
    instants: list[int],
) -> None:
    clock = Clock()
    ran: list[tuple[int, int]] = []
    for number, instant in enumerate(instants):

        def note(number: int = number) -> None:
            ran.append((clock.now_ns, number))

        clock.at(instant, note)
    assert clock.run_until(5) == len(instants)
    assert ran == sorted((instant, number) for number, instant in enumerate(instants))


def test_a_cancelled_event_never_runs_and_can_be_cancelled_once() -> None:
    clock = Clock()
    ran: list[str] = []
    ticket = clock.after(1, lambda: ran.append("cancelled"))
    clock.after(1, lambda: ran.append("kept"))
    assert clock.cancel(ticket)
    assert not clock.cancel(ticket)
    clock.run_for(2)
    assert ran == ["kept"]
    assert clock.next_ns is None


def test_an_event_can_put_in_another_for_the_same_instant_which_runs_before_time_goes_on() -> None:
    clock = Clock()
    ran: list[int] = []
    clock.at(3, lambda: clock.after(0, lambda: ran.append(clock.now_ns)))
    clock.run_until(3)
    assert ran == [3]


def test_nothing_happens_in_the_past() -> None:
    clock = Clock()
    clock.run_until(10)
    with pytest.raises(ValueError, match="has passed"):
        clock.at(9, lambda: None)
    with pytest.raises(ValueError, match="has passed"):
        clock.run_until(9)
