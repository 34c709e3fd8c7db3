"""I.3a-inform: a guest hears of corrected errors of its pages if its policy wants it, once a page."""

from __future__ import annotations

from pathlib import Path

from ringfence.decision.policy import DEFAULT, DomainRule, Policy
from ringfence.hypervisor.model.faults import Correctable
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.world.identities import CpuId, GuestFrame
from tests.contract.backends import BACKENDS, World

INFORMED = Policy(otherwise=DomainRule(inform_of_ce=True))


def told(world: World, path: Path, policy: Policy, pages: tuple[int, ...]) -> list[ev.StepWire]:
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, policy)
        for page in pages:
            address = world.host.address(world.pv, GuestFrame(page))
            world.host.inject(Correctable(addr=address))
            world.host.machine.load(CpuId(0), address)
            world.settle(1_000)
            loop.turn()
        assert not loop.state.cases
        return [event.step for _, event in journal.events() if isinstance(event, ev.Intended)]


def test_it_is_told_once_for_each_page_and_need_not_act(tmp_path: Path) -> None:
    world = BACKENDS["model concept"]()
    before = world.host.situation(None).domains
    steps = told(world, tmp_path / "j.sqlite", INFORMED, (3, 3, 4))
    assert [(step.kind, dict(step.given)["pages"]) for step in steps] == [("NotifyGuest", (3,)), ("NotifyGuest", (4,))]
    assert not any(dict(step.given)["must_act"] for step in steps)
    assert world.host.situation(None).domains == before


def test_without_the_policy_nobody_is_told(tmp_path: Path) -> None:
    assert told(BACKENDS["model concept"](), tmp_path / "j.sqlite", DEFAULT, (3,)) == []
