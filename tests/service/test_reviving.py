"""A guest that Xen crashed before Dom0 was asked: what Xen did, what the concept wants, and what Ringfence does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence.cli.main import main
from ringfence.decision.policy import DEFAULT, Answer, DomainRule, OnPageTrend, Operation, Policy
from ringfence.hypervisor.model.faults import CacheWriteback
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.loop import Loop
from ringfence.views import chain
from ringfence.world.domain import DomainState
from ringfence.world.identities import CpuId, GuestFrame
from ringfence.world.steps import OfflineFrame, RestartDomain, RestoreDomain, SaveDomain, Status
from tests.hypervisor.xen.test_host import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def crashed(bench: Bench) -> None:
    """An unconsumed error in a page of the PV guest: Xen crashes it (mcaction.c, mc_memerr_dhandler)."""
    address = bench.machine.address(bench.pv, GuestFrame(5))
    bench.machine.inject(CacheWriteback(cpu=CpuId(0), addr=address))
    bench.machine.advance(100)
    assert bench.state() is DomainState.CRASHED


def lived(bench: Bench, policy: Policy, turns: int = 20) -> list[ev.Stored]:
    """A life of the loop, and all that is in the journal then."""
    with Journal(bench.state_dir / "j.sqlite", fsync=False) as journal:
        loop = Loop(bench.host, journal, policy)
        for _ in range(turns):
            loop.turn()
            bench.machine.advance(1_000)
        return [event for _, event in journal.events()]


def steps(stored: list[ev.Stored]) -> list[type]:
    return [type(each.step.step) for each in stored if isinstance(each, ev.Intended) and each.row == "II.2"]


def test_it_is_restarted_and_explain_tells_xens_deed_the_concepts_way_and_ours(bench: Bench) -> None:
    crashed(bench)
    stored = lived(bench, DEFAULT)
    assert steps(stored) == [RestartDomain]
    assert bench.state() is DomainState.RUNNING
    cases = chain.by_case(stored)
    names = chain.names_of(stored)
    first, second = (" ".join(chain.text(chain.chain(case, cases[case], names)).split()) for case in cases)
    assert "preempted: the hypervisor killed the domain pv by itself" in first
    assert "what the concept wants in its place: Dom0 is asked: notify the DomU, operate on it, or both" in first
    assert "what remains: to bring pv back, if the policy has it restored or restarted" in first
    assert "pv: killed; I.2c-dom0 preempted: the hypervisor did so by itself, before anybody was asked" in first
    assert "closed: pv was crashed by the hypervisor, and is to be brought back" in second
    assert "case 1 ended so" in second
    assert second.endswith("pv: operated by II.2; restart done")


@pytest.mark.parametrize(
    "rule",
    [DomainRule(on_ue=Answer.LEAVE), DomainRule(operations=(Operation.DESTROY,)), DomainRule(operations=())],
    ids=["leave", "destroy", "nothing"],
)
def test_the_policy_says_whether(bench: Bench, rule: DomainRule) -> None:
    crashed(bench)
    assert steps(lived(bench, replace(DEFAULT, otherwise=rule))) == []
    assert bench.state() is DomainState.CRASHED


def test_a_dry_run_says_what_it_would_do_and_does_nothing(bench: Bench) -> None:
    crashed(bench)
    stored = lived(bench, replace(DEFAULT, dry_run=True))
    assert steps(stored) == []
    assert bench.state() is DomainState.CRASHED
    ends = [entry.because for each in stored if isinstance(each, ev.Closed) for entry in each.outcome]
    assert any(each == "restart: dry run: nothing was carried out" for each in ends)


def test_a_guest_that_ringfence_itself_ended_stays_as_it_is(bench: Bench) -> None:
    """Only what the hypervisor did alone is made good."""
    assert bench.done(SaveDomain(bench.pv)).succeeded
    assert steps(lived(bench, DEFAULT)) == []


def test_a_life_that_ends_in_the_middle_is_followed_by_one_that_ends_it_once(bench: Bench) -> None:
    crashed(bench)
    assert steps(lived(bench, DEFAULT, turns=1)) == [RestartDomain]
    bench.start()
    bench.machine.advance(60_000)
    stored = lived(bench, DEFAULT)
    closed = [each.case for each in stored if isinstance(each, ev.Closed)]
    assert len(closed) == len(set(closed)) == 2
    assert bench.state() is DomainState.RUNNING


# --- saved for the sake of a page -------------------------------------------------------------------------------------

RENEWS = replace(DEFAULT, trends=replace(DEFAULT.trends, page_count=3, on_page=OnPageTrend.OPERATE))


def errs(bench: Bench, policy: Policy, *, turns: int = 30) -> list[ev.Stored]:
    """Three corrected errors in one page of the guest, and what comes of it."""
    with Journal(bench.state_dir / "j.sqlite", fsync=False) as journal:
        loop = Loop(bench.host, journal, policy)
        for _ in range(3):
            bench.corrected(7)
            loop.turn()
        for _ in range(turns):
            loop.turn()
            bench.machine.advance(1_000)
        return [event for _, event in journal.events()]


def test_a_guest_lets_go_of_a_page_by_being_saved_and_goes_on_on_others_as_the_policy_says(bench: Bench) -> None:
    frame = bench.frame(7)
    stored = errs(bench, RENEWS)
    assert steps(stored) == [SaveDomain, RestoreDomain]
    assert bench.state() is DomainState.RUNNING
    assert bench.frame(7) != frame
    out = {each.order for each in stored if isinstance(each, ev.Intended) and isinstance(each.step.step, OfflineFrame)}
    ends = [each.status for each in stored if isinstance(each, ev.Carried) and each.order in out]
    assert ends == [Status.PENDING, Status.DONE]
    cases, names = chain.by_case(stored), chain.names_of(stored)
    first, second = (" ".join(chain.text(chain.chain(case, cases[case], names)).split()) for case in cases)
    assert "pv is made to let go of the page, if it waits for that: save" in first
    assert "pv was saved to let go of a page (case" in second
    assert second.endswith("pv: operated by II.2; restore done")


@pytest.mark.parametrize(
    "policy",
    [
        replace(RENEWS, trends=replace(RENEWS.trends, on_page=OnPageTrend.OFFLINE)),
        replace(RENEWS, otherwise=DomainRule(ahead=())),
        replace(RENEWS, otherwise=DomainRule(ahead=(Operation.MIGRATE,))),
        replace(RENEWS, dry_run=True),
    ],
    ids=["offline", "nothing allowed", "no other host", "dry run"],
)
def test_otherwise_the_page_waits_and_the_guest_runs_on(bench: Bench, policy: Policy) -> None:
    assert steps(errs(bench, policy)) == []
    assert bench.state() is DomainState.RUNNING


@pytest.mark.parametrize("turns", range(6))
def test_a_life_that_ends_anywhere_on_the_way_is_followed_by_one_that_brings_the_guest_back(
    bench: Bench, turns: int
) -> None:
    errs(bench, RENEWS, turns=turns)
    xl = bench.operations
    bench.start()
    vars(bench.operations).update(vars(xl))  # its processes outlive Ringfence
    bench.machine.advance(60_000)
    assert steps(lived(bench, RENEWS)) == [SaveDomain, RestoreDomain]
    assert bench.state() is DomainState.RUNNING


def test_whom_a_person_saved_meanwhile_waits_for_a_person(bench: Bench) -> None:
    """The operation was not done for the page: that it is saved is somebody else's doing."""
    policy = replace(RENEWS, otherwise=DomainRule(ahead=()))
    errs(bench, policy)
    assert bench.done(SaveDomain(bench.pv)).succeeded
    assert steps(lived(bench, policy)) == []
    assert bench.state() is DomainState.SAVED


def test_explain_leads_from_the_guests_end_to_the_case_that_brings_it_back(bench: Bench) -> None:
    crashed(bench)
    lived(bench, DEFAULT)
    explain = ("explain", "--journal", str(bench.state_dir / "j.sqlite"))
    listed = CliRunner().invoke(main, [*explain, "--json"]).stdout.splitlines()
    ended, brought_back = (json.loads(line) for line in listed)
    assert (ended["followed_by"], brought_back["followed_by"]) == ([brought_back["case"]], [])
    shown = CliRunner().invoke(main, [*explain, str(ended["case"])]).stdout
    assert shown.endswith(f"followed by case {brought_back['case']}\n")
