"""Trends over a host's life: acted upon once, again if nothing helped, known over restarts and reboots (II.1, B.8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Answer, DomainRule, OnPageTrend, Operation, Policy
from ringfence.diagnosis.fault_case import Ending, Stage
from ringfence.hypervisor.model.faults import Correctable
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.world.identities import CpuId, DomainId, GuestFrame
from ringfence.world.situation import Suspect
from ringfence.world.steps import NotifyGuest, OfflineFrame
from tests.contract.backends import BACKENDS, World

POLICY = replace(DEFAULT, trends=replace(DEFAULT.trends, page_count=3, on_page=OnPageTrend.OFFLINE))


@pytest.fixture
def world() -> World:
    return BACKENDS["model concept"]()


@contextmanager
def life(world: World, path: Path, policy: Policy = POLICY) -> Iterator[Loop]:
    with Journal(path, fsync=False) as journal:
        yield Loop(world.host, journal, policy)


def err(world: World, loop: Loop, times: int, *, page: int = 7, domain: DomainId | None = None) -> None:
    address = world.host.address(world.pv if domain is None else domain, GuestFrame(page))
    for _ in range(times):
        world.host.inject(Correctable(addr=address))
        world.host.machine.load(CpuId(0), address)
        world.settle(1_000)
        loop.turn()


def trends(path: Path, suspect: Suspect = Suspect.PAGE) -> list[ev.TrendSeen]:
    with Journal(path, fsync=False) as journal:
        stored = [event for _, event in journal.events() if isinstance(event, ev.TrendSeen)]
    return [event for event in stored if event.suspect is suspect]


def ordered(path: Path) -> list[object]:
    """What was ordered of the machine; what guests were told is left out."""
    return [step for step in steps(path) if not isinstance(step, NotifyGuest)]


def steps(path: Path) -> list[object]:
    with Journal(path, fsync=False) as journal:
        return [event.step.step for _, event in journal.events() if isinstance(event, ev.Intended)]


def test_the_guest_that_has_the_page_is_told_while_it_is_good_and_before_it_is_taken_out(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "j.sqlite"
    with life(world, path) as loop:
        err(world, loop, 3, domain=world.hvm)
    assert [type(step).__name__ for step in steps(path)] == ["OfflineFrame"], "it has no handler"
    with life(world, path) as loop:
        err(world, loop, 3)
        assert not [case for case in loop.state.cases.values() if not case.has_ended]
    told, out = steps(path)[1:]
    assert told == NotifyGuest(world.pv, (GuestFrame(7),), must_act=False, endangered=True)
    assert isinstance(out, OfflineFrame)


def test_a_page_is_acted_upon_once_and_its_suspects_are_named(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with life(world, path) as loop:
        err(world, loop, 9)
    (seen,) = trends(path)
    assert (seen.count, seen.case is not None) == (3, True)
    assert Suspect.PAGE in {each.suspect for each in seen.accused}
    assert all(each.speaks_for for each in seen.accused)
    assert len(ordered(path)) == 1


def test_a_second_page_is_acted_upon_as_well(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with life(world, path) as loop:
        err(world, loop, 4, page=7)
        err(world, loop, 4, page=9)
    assert len({event.name for event in trends(path)}) == len(trends(path)) == 2


def test_what_was_counted_before_a_restart_counts_after_it_and_nothing_is_done_twice(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "j.sqlite"
    for _ in range(6):
        with life(world, path) as loop:
            err(world, loop, 1)
    assert len(trends(path)) == len(ordered(path)) == 1


def test_what_nothing_can_be_done_about_is_tried_again_at_twice_the_errors(world: World, tmp_path: Path) -> None:
    """A page of Dom0 in use cannot be taken out while it is good. 3 errors, 6 more, 12 more, over two restarts."""
    path = tmp_path / "j.sqlite"
    tried: list[int] = []
    for number in range(1, 22):
        with life(world, path) as loop:
            err(world, loop, 1, domain=DomainId(0))
        if len(trends(path)) > len(tried):
            tried.append(number)
    assert tried == [3, 9, 21]


def test_after_a_reboot_what_was_bad_is_taken_out_again_without_a_new_error(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with life(world, path) as loop:
        err(world, loop, 3)
        (frame, pages), *_ = loop.state.faults.bad.pages
    world.host.reboot()
    for _ in range(2):
        with life(world, path) as loop:
            loop.turn()
            assert not loop.state.cases
            assert loop.state.faults.bad.pages == ((frame, pages),)
    assert ordered(path) == [OfflineFrame(frame), OfflineFrame(frame)]
    with Journal(path, fsync=False) as journal:
        (again,) = [event for _, event in journal.events() if isinstance(event, ev.KnownBad)]
    assert (again.pages, again.cpus) == (1, ())


def test_a_dry_run_takes_nothing_out_again(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with life(world, path) as loop:
        err(world, loop, 3)
    world.host.reboot()
    with life(world, path, replace(POLICY, dry_run=True)) as loop:
        loop.turn()
    assert len(ordered(path)) == 1


def test_a_wider_part_is_told_of_and_nothing_is_done_about_it(world: World, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    policy = replace(DEFAULT, trends=replace(DEFAULT.trends, page_count=100, dimm_count=4))
    with life(world, path, policy) as loop:
        err(world, loop, 9)
        (fault,) = [each for (suspect, _), each in loop.state.faults.known.items() if suspect is Suspect.DIMM]
    assert [(event.count, event.case) for event in trends(path, Suspect.DIMM)] == [(4, None)]
    assert (fault.stage, fault.failures, ordered(path)) == (Stage.UNTREATED, 1, [])


OPERATES = replace(
    DEFAULT,
    trends=replace(DEFAULT.trends, rank_ue_ms=5 * 3_600_000),
    otherwise=DomainRule(on_srar=Answer.OPERATE, operations=(Operation.RESTART,)),
)


@pytest.mark.parametrize("acquitted", [False, True])
def test_an_operation_after_an_error_is_weighed_against_the_next_one_that_a_failing_rank_lets_expect(
    world: World, tmp_path: Path, acquitted: bool
) -> None:
    with Journal(tmp_path / "j.sqlite", fsync=False) as journal:
        journal.append(
            ev.TrendSeen(at_ms=0, suspect=Suspect.RANK, name="rank 1", count=3, distinct=2, window_ms=72 * 3_600_000)
        )
        if acquitted:
            journal.append(ev.Cleared(at_ms=1, suspect=Suspect.RANK, name="rank 1", how=Ending.ACQUITTED))
        loop = Loop(world.host, journal, OPERATES)
        world.consumed()
        loop.turn()
        (decided,) = (each for _, each in journal.events() if isinstance(each, ev.Decided) and each.costed)
    expected = "no uncorrected error is expected" if acquitted else "the uncorrected error, expected in 5 h,"
    assert any(expected in line for line in decided.costed)
