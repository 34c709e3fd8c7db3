"""What a new life of Ringfence makes of operations, approvals and trends that an earlier one began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Answer, Budgets, DomainRule, Operation, Policy
from ringfence.hypervisor.model.faults import ContextCorrupt, Correctable
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.world.domain import DomainState
from ringfence.world.identities import CpuId, DomainId, GuestFrame
from ringfence.world.situation import Seat
from tests.contract.backends import BACKENDS, World

OPERATE = Policy(
    otherwise=DomainRule(
        on_ue=Answer.OPERATE, on_srar=Answer.OPERATE, operations=(Operation.RESTART, Operation.DESTROY)
    )
)
ASK = replace(OPERATE, approve=frozenset({Operation.RESTART}))


@pytest.fixture
def world() -> World:
    return BACKENDS["model concept"]()


@contextmanager
def life(world: World, path: Path, policy: Policy) -> Iterator[Loop]:
    """One life of Ringfence; it ends as by a kill."""
    with Journal(path, fsync=False) as journal:
        yield Loop(world.host, journal, policy)


def stored(path: Path) -> list[ev.Stored]:
    with Journal(path, fsync=False) as journal:
        return [event for _, event in journal.events()]


def ordered(path: Path) -> list[str]:
    return [event.step.kind for event in stored(path) if isinstance(event, ev.Intended)]


def outcomes(path: Path) -> list[tuple[DomainId | None, str]]:
    return [
        (entry.domain, entry.state) for event in stored(path) if isinstance(event, ev.Closed) for entry in event.outcome
    ]


def go_on(world: World, loop: Loop, seconds: int) -> None:
    for _ in range(seconds):
        loop.turn()
        world.settle(1_000)
    loop.turn()


@pytest.mark.parametrize(("granted", "kind"), [(True, "RestartDomain"), (False, "DestroyDomain")])
def test_the_word_of_a_person_outlives_a_kill(world: World, tmp_path: Path, granted: bool, kind: str) -> None:
    path = tmp_path / "j.sqlite"
    world.consumed()
    with life(world, path, ASK) as loop:
        loop.turn()
        (asked,) = loop.state.approvals.values()
        assert loop.approve(asked.case, world.pv, Operation.RESTART, granted=granted, who="night shift")
    with life(world, path, ASK) as loop:
        go_on(world, loop, 20)
    assert sum(isinstance(event, ev.ApprovalAsked) for event in stored(path)) == 1
    assert ordered(path) == [kind]


def test_a_person_is_asked_once_and_the_time_for_it_goes_on_over_a_kill(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    world.consumed()
    with life(world, path, ASK) as loop:
        loop.turn()
        before = loop.state.approvals
    world.settle(30_000)
    with life(world, path, ASK) as loop:
        loop.turn()
        assert loop.state.approvals == before
        assert loop.wake_ms == next(iter(before.values())).deadline_ms
    world.settle(31_000)
    for _ in range(2):
        with life(world, path, ASK) as loop:
            loop.turn()
    assert sum(isinstance(event, ev.ApprovalAsked) for event in stored(path)) == 1
    assert ordered(path) == ["DestroyDomain"]


def test_an_operation_that_waits_for_room_is_not_dropped_by_a_kill(world: World, tmp_path: Path) -> None:
    path, policy = tmp_path / "j.sqlite", replace(OPERATE, budgets=Budgets(operations_at_a_time=1))
    world.consumed()
    assert world.host.consume(world.hvm, GuestFrame(7)) is not None
    world.settle(10)
    with life(world, path, policy) as loop:
        loop.turn()
    with life(world, path, policy) as loop:
        go_on(world, loop, 20)
    ends = [(domain, state) for domain, state in outcomes(path) if state != "superseded"]
    assert ends == [(world.pv, "operated"), (world.hvm, "operated")]
    assert ordered(path) == ["RestartDomain", "RestartDomain"]


def test_a_guest_that_was_being_told_of_a_corrected_error_is_not_moved_for_it(world: World, tmp_path: Path) -> None:
    path, policy = tmp_path / "j.sqlite", Policy(otherwise=DomainRule(inform_of_ce=True))
    with life(world, path, policy) as loop:
        case = loop._ledger.own_case()
        loop._ledger.write(
            ev.Decided(at_ms=1, case=case, domain=world.pv, seat=Seat.DOM0, row="I.3a-inform"),
            ev.Progressed(at_ms=1, case=case, domain=world.pv, event="trend", state="carrying_out", row="II.1"),
        )
    with life(world, path, policy) as loop:
        go_on(world, loop, 20)
        assert not loop.state.cases
    assert ordered(path) == []
    known = world.host.situation(None).domain(world.pv)
    assert known is not None and known.state is DomainState.RUNNING


def test_what_nothing_helped_against_is_tried_again_at_twice_the_errors(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    policy = replace(DEFAULT, trends=replace(DEFAULT.trends, page_count=2, page_window_s=3_600))
    address = world.host.address(DomainId(0), GuestFrame(7))
    with life(world, path, policy) as loop:
        for _ in range(9):
            world.host.inject(Correctable(addr=address))
            world.host.machine.load(CpuId(0), address)
            world.settle(600_000)
            loop.turn()
    assert sum(isinstance(event, ev.TrendSeen) for event in stored(path)) == 2


def test_what_is_found_after_the_reset_is_joined_to_the_case_that_halted_the_host(tmp_path: Path) -> None:
    path, host = tmp_path / "j.sqlite", BACKENDS["model concept"]().host
    host.inject(ContextCorrupt(cpu=CpuId(1)))
    for _ in range(2):
        with Journal(path, fsync=False) as journal:
            loop = Loop(host, journal, DEFAULT)
            for _ in range(100):
                host.advance(20)
                if host.halted:
                    break
                loop.turn()
        if host.halted:
            host.reboot()
    found = [event for event in stored(path) if isinstance(event, ev.Received) and event.left_over]
    halted = [event.case for event in stored(path) if isinstance(event, ev.Closed)]
    assert found and len(halted) == 1
    assert {event.case for event in found} == set(halted)
