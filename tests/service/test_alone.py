"""Where the hypervisor acts alone, Dom0's seat records what it took away, and does what remains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Policy
from ringfence.hypervisor.model.faults import CacheWriteback
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.world.domain import DomainState
from ringfence.world.identities import CpuId, DomainId, GuestFrame, StepId
from ringfence.world.steps import Order, PauseDomain
from tests.contract.backends import BACKENDS, World


def play(world: World, path: Path, policy: Policy = DEFAULT, minutes: int = 2) -> list[ev.Stored]:
    """Let Ringfence run on a world for a while; what is in its journal then."""
    with Journal(path, fsync=False) as journal:
        loop = Loop(world.host, journal, policy)
        for _ in range(minutes * 60):
            loop.turn()
            world.host.advance(1_000)
        assert not loop.state.cases, "a case is still open"
        return [event for _, event in journal.events()]


def outcomes(stored: list[ev.Stored]) -> list[tuple[DomainId | None, str]]:
    return [(entry.domain, entry.state) for event in stored if isinstance(event, ev.Closed) for entry in event.outcome]


def reasons(stored: list[ev.Stored]) -> str:
    return "\n".join(reason.because for event in stored if isinstance(event, ev.Decided) for reason in event.reasons)


def state(world: World, domain: DomainId) -> DomainState | None:
    known = world.host.situation(None).domain(domain)
    return known.state if known is not None else None


def found_before_use(world: World) -> None:
    """A line of ``pv`` goes bad on its way from the cache to memory: nobody has consumed it yet."""
    address = world.host.address(world.pv, GuestFrame(5))
    world.host.inject(CacheWriteback(cpu=CpuId(0), addr=address))
    world.settle(10)


@pytest.fixture
def world() -> World:
    return BACKENDS["model xen-4.20"]()


def test_a_pv_guest_that_xen_killed_is_recorded_as_killed_and_the_row_as_preempted(
    world: World, tmp_path: Path
) -> None:
    found_before_use(world)
    stored = play(world, tmp_path / "j.sqlite")
    assert (world.pv, "killed") in outcomes(stored)
    assert "preempted: the hypervisor killed the domain" in reasons(stored)


def test_an_hvm_guest_that_xen_told_is_recorded_as_told_and_is_not_told_again(world: World, tmp_path: Path) -> None:
    assert world.host.consume(world.hvm, GuestFrame(5)) is not None
    world.settle(10)
    stored = play(world, tmp_path / "j.sqlite")
    assert (world.hvm, "injected") in outcomes(stored)
    assert not [
        event for event in stored if isinstance(event, ev.Intended) and event.step.kind in {"InjectVmce", "NotifyGuest"}
    ]
    assert state(world, world.hvm) is DomainState.RUNNING


def test_a_guest_that_is_stopped_by_somebody_else_is_noted_though_nothing_arrives(world: World, tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite", fsync=False) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        loop.turn()
        assert not world.host.arrivals()
        world.host.carry_out(Order(id=StepId(1 << 50), step=PauseDomain(world.pv)))
        loop.turn()
        changed = [event for _, event in journal.events() if isinstance(event, ev.DomainChanged)]
        assert (changed[-1].domain, changed[-1].state) == (world.pv, DomainState.PAUSED)


def test_a_dry_run_orders_nothing_and_says_what_it_would_have_ordered(tmp_path: Path) -> None:
    real, dry = BACKENDS["model xen-4.20"](), BACKENDS["model xen-4.20"]()
    for world in (real, dry):
        found_before_use(world)
    before = dry.host.situation(None).domains
    stored = play(dry, tmp_path / "dry.sqlite", replace(DEFAULT, dry_run=True))
    carried = [event for event in stored if isinstance(event, ev.Carried)]
    assert all(event.because == "dry run: not carried out" for event in carried)
    assert dry.host.situation(None).domains == before
    assert outcomes(stored) == outcomes(play(real, tmp_path / "real.sqlite"))


def test_a_kill_in_the_middle_is_taken_up_and_every_case_ends_once(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    found_before_use(world)
    assert world.host.consume(world.hvm, GuestFrame(7)) is not None
    world.settle(10)
    with Journal(path, fsync=False) as journal:
        Loop(world.host, journal, DEFAULT).turn()
    stored = play(world, path)
    ended = [event.case for event in stored if isinstance(event, ev.Closed)]
    assert ended and len(ended) == len(set(ended))
