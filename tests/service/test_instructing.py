"""A person's instruction is checked first, done once, and goes on after a kill as what it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Operation, Policy
from ringfence.diagnosis.fault_case import Ending
from ringfence.journal import events as ev
from ringfence.journal.case import Case
from ringfence.journal.state import apply
from ringfence.journal.store import Journal
from ringfence.service.instructing import Instructable
from ringfence.service.loop import Loop
from ringfence.world.domain import DomainState
from ringfence.world.identities import DOM0, CaseId, CpuId, DomainId, Frame
from ringfence.world.situation import Situation, Suspect
from ringfence.world.steps import OfflineCpu, OfflineFrame, OnlineCpu, OnlineFrame, Status, UnpauseDomain
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


# --- single steps ---------------------------------------------------------------------------------------------------

PAGE, CPU = Frame(0x5000), CpuId(3)


def test_a_page_and_a_cpu_go_out_of_use_and_come_back_and_the_journal_says_who_did_it(
    world: World, tmp_path: Path
) -> None:
    loop, journal = opened(world, tmp_path)
    with journal:
        for step, operation, out in (
            (OfflineCpu(CPU), "offline", True), (OnlineCpu(CPU), "online", False),
            (OfflineFrame(PAGE), "offline", True), (OnlineFrame(PAGE), "online", False),
        ):  # fmt: skip
            case, result = loop.instruct_step(step, operation, "me")
            loop.turn()
            assert result.succeeded, step
            assert case is not None
            assert loop.state.is_closed(case)
            known = CPU in loop.state.faults.cpus if "Cpu" in type(step).__name__ else PAGE in loop.state.faults.pages
            assert known is out
        told = [event for _, event in journal.events() if isinstance(event, ev.Instructed)]
    assert [(each.operation, each.on, each.who, each.domain) for each in told] == [
        ("offline", "CPU 3", "me", None), ("online", "CPU 3", "me", None),
        ("offline", "frame 0x5000", "me", None), ("online", "frame 0x5000", "me", None),
    ]  # fmt: skip


def test_what_the_host_refuses_is_told_and_its_case_is_closed(world: World, tmp_path: Path) -> None:
    loop, journal = opened(world, tmp_path)
    with journal:
        case, result = loop.instruct_step(OfflineCpu(CpuId(0)), "offline", "me")
        loop.turn()
        assert case is not None
        assert loop.state.is_closed(case)
    assert (result.status, result.because) == (Status.REFUSED, "CPU 0 cannot go offline")


def test_only_what_is_paused_can_be_unpaused_and_not_while_a_case_is_about_it(world: World, tmp_path: Path) -> None:
    loop, journal = opened(world, tmp_path)
    with journal:
        assert (
            loop.instruct_step(UnpauseDomain(world.pv), "unpause", "me")[1].because == "it is running, and not paused"
        )
        assert loop.instruct_step(UnpauseDomain(DOM0), "unpause", "me")[1].status is Status.REFUSED
        assert loop.instruct_step(UnpauseDomain(DomainId(4_000)), "unpause", "me")[1].status is Status.REFUSED
        loop.instruct(world.pv, Operation.PAUSE, "me")
        case, result = loop.instruct_step(UnpauseDomain(world.pv), "unpause", "me")
        assert (result.status, state(world, world.pv)) == (Status.DONE, DomainState.RUNNING)
        loop.turn()
        loop.instruct(world.pv, Operation.PAUSE, "me")
        # The pause's own case is still open: this turn has not closed it.
        loop.turn()
        about = Case(CaseId(7), 0)
        about.domains.add(world.pv)
        loop.state.cases[about.id] = about
        refused = loop.instruct_step(UnpauseDomain(world.pv), "unpause", "me")
    assert case is not None
    assert refused[0] is None
    assert refused[1].because == "case 7 is about it: running, it could touch what is broken"
    assert state(world, world.pv) is DomainState.PAUSED


@pytest.mark.parametrize(
    ("step", "suspect", "name"),
    [(OnlineFrame(PAGE), Suspect.PAGE, "page 0x5000"), (OnlineCpu(CPU), Suspect.CORE, "CPU 3")],
)
def test_what_is_at_fault_comes_back_only_after_it_was_acquitted(
    world: World, tmp_path: Path, step: OnlineFrame | OnlineCpu, suspect: Suspect, name: str
) -> None:
    loop, journal = opened(world, tmp_path)
    with journal:
        trend = ev.TrendSeen(at_ms=0, suspect=suspect, name=name, count=9, distinct=1, window_ms=1)
        apply(loop.state, trend)
        case, refused = loop.instruct_step(step, "online", "me")
        loop.note(ev.Cleared(at_ms=1, suspect=suspect, name=name, how=Ending.ACQUITTED, who="me"))
        _, after = loop.instruct_step(step, "online", "me")
    assert (case, refused.status) == (None, Status.REFUSED)
    assert f"ringfence acquit '{name}'" in refused.because
    assert "a fault stands against it" not in after.because


@pytest.mark.parametrize(
    "step", [OfflineFrame(PAGE), OnlineFrame(PAGE), OfflineCpu(CPU), OnlineCpu(CPU), UnpauseDomain(DomainId(1))]
)
def test_in_a_dry_run_no_step_is_done(world: World, tmp_path: Path, step: Instructable) -> None:
    loop, journal = opened(world, tmp_path, Policy(dry_run=True))
    with journal:
        before = untimed(world.host.situation(None))
        case, result = loop.instruct_step(step, "online", "me")
        last = list(journal.events())[-1][1]
    assert (case, result.status) == (None, Status.REFUSED)
    assert untimed(world.host.situation(None)) == before
    assert isinstance(last, ev.Instructed)
    assert "dry run" in last.refused
