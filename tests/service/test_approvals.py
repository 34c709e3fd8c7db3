"""A person's word on one operation after the other: asked for where the policy wants it, and at most so often."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import Answer, DomainRule, Operation, Policy
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.world.steps import RestartDomain
from tests.contract.backends import BACKENDS, World

TWO = Policy(
    otherwise=DomainRule(
        on_ue=Answer.OPERATE, on_srar=Answer.OPERATE, operations=(Operation.RESTART, Operation.DESTROY)
    )
)
BOTH_ASKED = replace(TWO, approve=frozenset({Operation.RESTART, Operation.DESTROY}))
SECOND_ASKED = replace(TWO, approve=frozenset({Operation.DESTROY}))


@pytest.fixture
def world() -> World:
    return BACKENDS["model concept"]()


def stored(path: Path) -> list[ev.Stored]:
    with Journal(path, fsync=False) as journal:
        return [event for _, event in journal.events()]


def asked(path: Path) -> list[str]:
    return [event.operation for event in stored(path) if isinstance(event, ev.ApprovalAsked)]


def ordered(path: Path) -> list[str]:
    return [event.step.kind for event in stored(path) if isinstance(event, ev.Intended)]


def play(world: World, loop: Loop, seconds: int) -> None:
    for _ in range(seconds):
        loop.turn()
        world.settle(1_000)
    loop.turn()


def say(loop: Loop, *, granted: bool) -> None:
    (waiting,) = loop.state.approvals.values()
    assert waiting.domain is not None
    assert loop.approve(waiting.case, waiting.domain, Operation(waiting.operation), granted=granted, who="night shift")
    loop.turn()


def test_a_person_is_asked_about_the_operation_that_follows_a_failed_one(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    world.host.fail_next(RestartDomain, "no memory for it", 1)
    world.consumed()
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, SECOND_ASKED)
        loop.turn()
        say(loop, granted=True)
        play(world, loop, 3)
        assert not loop.state.cases
    assert asked(path) == ["destroy"]
    assert ordered(path) == ["RestartDomain", "DestroyDomain"]


def test_who_denies_one_operation_is_asked_about_the_next(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    world.consumed()
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, BOTH_ASKED)
        loop.turn()
        say(loop, granted=False)
        say(loop, granted=True)
        play(world, loop, 3)
    assert asked(path) == ["restart", "destroy"]
    assert ordered(path) == ["DestroyDomain"]


def test_the_second_question_outlives_a_kill_and_is_not_asked_again(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    world.consumed()
    for granted in (False, True):
        with Journal(path, fsync=False) as journal:
            loop = Loop(world.host, journal, BOTH_ASKED)
            loop.turn()
            say(loop, granted=granted)
            if granted:
                play(world, loop, 3)
    assert asked(path) == ["restart", "destroy"]
    assert ordered(path) == ["DestroyDomain"]


def test_who_said_nothing_in_time_is_asked_no_second_time(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    world.consumed()
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, BOTH_ASKED)
        play(world, loop, 70)
        assert not loop.state.approvals
    assert asked(path) == ["restart"]
    passed = [event.which for event in stored(path) if isinstance(event, ev.DeadlinePassed)]
    assert passed == [ev.Deadline.APPROVAL]


def test_nobody_is_asked_about_the_next_while_an_order_of_an_earlier_life_runs(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    world.consumed()
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, SECOND_ASKED)
        loop.turn()
        (running,) = loop.state.orders.values()
        assert running.running
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, SECOND_ASKED)
        assert not loop.state.approvals, "nobody is asked while it runs"
        play(world, loop, 20)
        assert not loop.state.cases
    assert ordered(path) == ["RestartDomain"]
