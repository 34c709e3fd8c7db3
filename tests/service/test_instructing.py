"""A person's instruction is checked first, done once, and goes on after a kill as what it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Operation, Policy
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.world.domain import DomainState
from ringfence.world.identities import DOM0, DomainId
from ringfence.world.situation import Situation
from ringfence.world.steps import Status
from tests.contract.backends import BACKENDS, World


@pytest.fixture
def world() -> World:
    return BACKENDS["model concept"]()


def opened(world: World, tmp_path: Path, policy: Policy = DEFAULT) -> tuple[Loop, Journal]:
    journal = Journal(tmp_path / "j.sqlite", fsync=False)
    return Loop(world.host, journal, policy), journal


def live(loop: Loop, world: World, seconds: int) -> None:
    for _ in range(seconds * 10):
        loop.turn()
        world.host.advance(100)
    loop.turn()


def state(world: World, domain: DomainId) -> DomainState:
    known = world.host.situation(None).domain(domain)
    assert known is not None
    return known.state


def steps(journal: Journal, kind: str) -> list[ev.Intended]:
    found = (event for _, event in journal.events() if isinstance(event, ev.Intended))
    return [event for event in found if event.step.kind == kind]


def untimed(situation: Situation) -> Situation:
    return replace(situation, now_ms=0)


def test_what_is_instructed_is_done_at_once_and_its_case_is_closed(world: World, tmp_path: Path) -> None:
    loop, journal = opened(world, tmp_path)
    with journal:
        case, result = loop.instruct(world.pv, Operation.PAUSE, "me")
        loop.turn()
        closed = [event for _, event in journal.events() if isinstance(event, ev.Closed)]
    assert result.status is Status.DONE
    assert state(world, world.pv) is DomainState.PAUSED
    assert [(each.case, each.outcome[0].state, each.outcome[0].row) for each in closed] == [(case, "operated", "II.2")]


def test_an_instruction_is_a_persons_approval_and_asks_for_no_other(world: World, tmp_path: Path) -> None:
    loop, journal = opened(world, tmp_path, Policy(approve=frozenset(Operation)))
    with journal:
        _, result = loop.instruct(world.pv, Operation.DESTROY, "me")
        assert not any(isinstance(event, ev.ApprovalAsked) for _, event in journal.events())
    assert result.status is Status.DONE


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize("domain", [DOM0, DomainId(4_000)])
def test_neither_dom0_nor_nobody_can_be_operated_on_and_nothing_changes(
    world: World, tmp_path: Path, operation: Operation, domain: DomainId
) -> None:
    loop, journal = opened(world, tmp_path)
    with journal:
        before, cases = untimed(world.host.situation(None)), dict(loop.state.cases)
        case, result = loop.instruct(domain, operation, "me")
        last = list(journal.events())[-1][1]
    assert (case, result.status) == (None, Status.REFUSED)
    assert untimed(world.host.situation(None)) == before
    assert loop.state.cases == cases
    assert isinstance(last, ev.Instructed)
    assert (last.who, last.refused) == ("me", result.because)


def test_an_operation_that_ran_when_ringfence_was_killed_ends_once(world: World, tmp_path: Path) -> None:
    loop, journal = opened(world, tmp_path)
    with journal:
        case, result = loop.instruct(world.pv, Operation.SAVE, "me")
    assert result.status is Status.RUNNING
    loop, journal = opened(world, tmp_path)
    with journal:
        live(loop, world, 60)
        assert len(steps(journal, "SaveDomain")) == 1
        ends = [event.outcome[0].state for _, event in journal.events() if isinstance(event, ev.Closed)]
    assert ends == ["operated"]
    assert state(world, world.pv) is DomainState.SAVED
    assert case is not None


def test_an_operation_that_waited_when_ringfence_was_killed_is_still_the_one_that_was_instructed(
    world: World, tmp_path: Path
) -> None:
    one_at_a_time = replace(DEFAULT, budgets=replace(DEFAULT.budgets, operations_at_a_time=1))
    loop, journal = opened(world, tmp_path, one_at_a_time)
    with journal:
        loop.instruct(world.pv, Operation.SAVE, "me")
        _, waiting = loop.instruct(world.hvm, Operation.PAUSE, "me")
        assert not steps(journal, "PauseDomain")
    assert waiting.status is Status.RUNNING
    loop, journal = opened(world, tmp_path, one_at_a_time)
    with journal:
        live(loop, world, 60)
        kinds = [event.step.kind for _, event in journal.events() if isinstance(event, ev.Intended)]
    assert kinds == ["SaveDomain", "PauseDomain"], "and not what the policy would do ahead of an error"
    assert state(world, world.hvm) is DomainState.PAUSED
