"""Turns on the CPUs: what is worked out is what stepping through every slice would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringfence.hypervisor.model.clock import Clock, Nanoseconds
from ringfence.hypervisor.model.observer import Ran
from ringfence.hypervisor.model.scheduler import SLICE_NS, Scheduler
from ringfence.world.identities import CpuId, DomainId, VcpuId

ONE, TWO = DomainId(1), DomainId(2)


def two_on_one_cpu() -> tuple[Clock, Scheduler, list[Ran]]:
    clock, seen = Clock(), list[Ran]()
    scheduler = Scheduler((CpuId(0),), now=lambda: clock.now_ns, watch=seen.append)
    for domain in (ONE, TWO):
        scheduler.add(domain, 1)
        scheduler.go(domain)
    return clock, scheduler, seen


def test_two_vcpus_of_one_cpu_take_turns() -> None:
    clock, scheduler, _ = two_on_one_cpu()
    order = []
    for _ in range(4):
        order.append(scheduler.running(CpuId(0)))
        clock.run_for(SLICE_NS)
    assert order == [(ONE, 0), (TWO, 0), (ONE, 0), (TWO, 0)]


def test_a_stopped_domain_has_no_slice_until_it_goes_on() -> None:
    clock, scheduler, _ = two_on_one_cpu()
    clock.run_for(100 * SLICE_NS)
    stopped = clock.now_ns
    scheduler.stop(TWO)
    clock.run_for(100 * SLICE_NS)
    assert scheduler.ran(TWO, stopped, clock.now_ns) == ()
    assert not scheduler.runs(TWO)
    assert scheduler.ran(ONE, stopped, clock.now_ns)
    scheduler.go(TWO)
    clock.run_for(2 * SLICE_NS)
    assert scheduler.ran(TWO, stopped, clock.now_ns)


def test_only_dom0_runs_while_evidence_is_saved() -> None:
    clock, scheduler, _ = two_on_one_cpu()
    scheduler.only(ONE)
    clock.run_for(10 * SLICE_NS)
    assert scheduler.ran(TWO, 0, clock.now_ns) == ()
    scheduler.only(None)
    assert scheduler.runs(TWO)


def test_a_cpu_that_goes_offline_hands_its_vcpus_on() -> None:
    clock = Clock()
    scheduler = Scheduler((CpuId(0), CpuId(1)), now=lambda: clock.now_ns, watch=lambda ran: None)
    scheduler.add(ONE, 2)
    scheduler.go(ONE)
    scheduler.take_offline(CpuId(1))
    assert {scheduler.cpu_of(ONE, VcpuId(number)) for number in (0, 1)} == {0}
    assert scheduler.online == (0,)


CHANGES = st.lists(
    st.tuples(st.integers(1, 5 * SLICE_NS), st.sampled_from(["stop", "go"]), st.sampled_from([ONE, TWO])), max_size=12
)


@given(CHANGES, st.integers(0, 30), st.integers(1, 30))
def test_the_spans_are_those_that_a_look_at_every_slice_gives(
    changes: list[tuple[int, str, DomainId]], start: int, length: int
) -> None:
    clock, scheduler, seen = two_on_one_cpu()
    slices: list[tuple[int, int, DomainId]] = []

    def pass_time(until: int) -> None:
        while clock.now_ns < until:
            end = min(until, (clock.now_ns // SLICE_NS + 1) * SLICE_NS)
            if (who := scheduler.running(CpuId(0))) is not None:
                slices.append((clock.now_ns, end, who[0]))
            clock.run_until(end)

    for delay, what, domain in changes:
        pass_time(clock.now_ns + delay)
        (scheduler.stop if what == "stop" else scheduler.go)(domain)
    pass_time(clock.now_ns + SLICE_NS)
    from_ns, to_ns = start * SLICE_NS // 3, (start + length) * SLICE_NS // 3
    for domain in (ONE, TWO):
        looked = [
            (max(a, from_ns), min(b, to_ns)) for a, b, who in slices if who == domain and a < to_ns and b > from_ns
        ]
        told = scheduler.ran(domain, from_ns, min(to_ns, clock.now_ns))
        # The first and last instant at which it ran, and never a span in which it did not run at all.
        assert ([min(each[0] for each in looked)] if looked else []) == (
            [min(each.from_ns for each in told)] if told else []
        )
        assert ([max(each[1] for each in looked)] if looked else []) == (
            [max(each.to_ns for each in told)] if told else []
        )
        for span in told:
            assert any(a >= span.from_ns and b <= span.to_ns for a, b in looked)
    assert all(each.from_ns < each.to_ns <= clock.now_ns for each in seen)


def test_the_next_turn_is_the_instant_at_which_the_vcpu_has_its_cpu() -> None:
    clock, scheduler, _ = two_on_one_cpu()
    clock.run_for(3 * SLICE_NS // 2)
    wait = scheduler.next_turn_ns(ONE, VcpuId(0))
    assert wait == SLICE_NS // 2
    clock.run_until(Nanoseconds(clock.now_ns + wait))
    assert scheduler.running(CpuId(0)) == (ONE, 0)
    scheduler.stop(ONE)
    assert scheduler.next_turn_ns(ONE, VcpuId(0)) is None
