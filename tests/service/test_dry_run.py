"""A dry run orders nothing at all: whatever began before it was loaded, and whatever a life before it left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Answer, DomainRule, Operation, Policy
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.world.domain import DomainState
from ringfence.world.identities import CaseId, StepId
from ringfence.world.steps import (
    DestroyDomain,
    Order,
    PauseDomain,
    RestartDomain,
    Result,
    Status,
    Step,
)
from tests.contract.backends import BACKENDS, World

OPERATES = Policy(
    otherwise=DomainRule(
        on_ue=Answer.OPERATE, on_srar=Answer.OPERATE, operations=(Operation.RESTART, Operation.DESTROY)
    )
)


@pytest.fixture
def world() -> World:
    return BACKENDS["model concept"]()


@pytest.fixture
def ordered(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """What reaches the host."""
    reached, real = list[Step](), world.host.carry_out

    def carry_out(order: Order) -> Result:
        reached.append(order.step)
        return real(order)

    monkeypatch.setattr(world.host, "carry_out", carry_out)
    return reached


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "j.sqlite", fsync=False) as opened:
        yield opened


def play(world: World, loop: Loop) -> None:
    for _ in range(4):
        loop.turn()
        world.settle(1_000)
    loop.turn()


def ends(journal: Journal) -> list[tuple[str, Status, str]]:
    """Each order of Dom0's seat, and what became of it."""
    stored = [event for _, event in journal.events()]
    kinds = {event.order: event.step.kind for event in stored if isinstance(event, ev.Intended)}
    return [(kinds[event.order], event.status, event.because) for event in stored if isinstance(event, ev.Carried)]


def test_an_operation_that_waits_for_a_person_is_not_begun_though_it_is_granted(
    world: World, journal: Journal, ordered: list[Step]
) -> None:
    policy = replace(OPERATES, approve=frozenset({Operation.RESTART}))
    world.consumed()
    loop = Loop(world.host, journal, policy)
    loop.turn()
    (waiting,) = loop.state.approvals.values()
    ordered.clear()
    loop.load_policy(replace(policy, dry_run=True), "dry")
    assert waiting.domain is not None
    loop.approve(waiting.case, waiting.domain, Operation.RESTART, granted=True, who="night shift")
    play(world, loop)
    assert not [step for step in ordered if isinstance(step, RestartDomain)]
    refused = (Status.REFUSED, "dry run: nothing is ordered")
    assert ends(journal) == [("RestartDomain", *refused), ("DestroyDomain", *refused)]
    assert not loop.state.cases


def test_a_drain_that_waits_for_room_goes_no_further(world: World, journal: Journal, ordered: list[Step]) -> None:
    """People load a dry run to stop what they see happen."""
    one_at_a_time = replace(DEFAULT, budgets=replace(DEFAULT.budgets, operations_at_a_time=1))
    loop = Loop(world.host, journal, one_at_a_time)
    loop.instruct(world.pv, Operation.RESTART, "night shift")
    loop.instruct(world.hvm, Operation.RESTART, "night shift")
    assert ordered == [RestartDomain(world.pv)]
    loop.load_policy(replace(one_at_a_time, dry_run=True), "dry")
    play(world, loop)
    assert ordered == [RestartDomain(world.pv)], "the one that ran already"
    assert not loop.state.cases


def test_what_an_earlier_life_left_half_done_is_not_carried_out_again_and_is_said_to_be_unknown(
    world: World, journal: Journal, ordered: list[Step]
) -> None:
    """An intent without an end: Ringfence was killed in between. Pausing can be repeated, and would be."""
    Loop(world.host, journal, DEFAULT).turn()
    case = CaseId(1 << 41)
    steps: tuple[Step, ...] = PauseDomain(world.pv), DestroyDomain(world.hvm)
    for number, step in enumerate(steps):
        journal.append(
            ev.Progressed(at_ms=0, case=case, domain=None, event="instructed", state="carrying_out", row="II.2"),
            ev.Intended(at_ms=0, order=StepId(10 + number), case=case, step=ev.on_wire(step), row="II.2"),
        )  # fmt: skip
    loop = Loop(world.host, journal, replace(DEFAULT, dry_run=True))
    play(world, loop)
    assert not ordered
    assert {each.state for each in world.host.situation(None).domains} == {DomainState.RUNNING}
    assert {status for _, status, _ in ends(journal)} == {Status.UNKNOWN}
    assert all("dry run" in because for _, _, because in ends(journal))
