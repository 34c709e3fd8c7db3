"""What every backend behind the port promises (hypervisor.port); the same suite for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.action.carry import NEEDS
from ringfence.hypervisor.port import Arrival, Capability, Ended, Telemetry, Token
from ringfence.world.domain import DomainState
from ringfence.world.identities import DOM0, CaseId, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    DestroyDomain,
    ExchangeFrame,
    InjectVmce,
    IsolateFrame,
    MigrateDomain,
    NotifyGuest,
    OfflineFrame,
    Order,
    PauseDomain,
    RestartDomain,
    RestoreDomain,
    Result,
    SaveDomain,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)
from ringfence.world.treatment import Dom0Says
from tests.contract.backends import PORTS, Seen
from tests.contract.kvm_world import KvmWorld

NOBODY = DomainId(4711)
PAGE = GuestFrame(9)


@pytest.fixture(params=PORTS)
def seen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Seen]:
    found = PORTS[request.param](tmp_path)
    yield found
    if isinstance(found.world, KvmWorld):
        found.world.close()


def order(number: int, step: Step) -> Order:
    return Order(StepId(number), step)


def carried(seen: Seen, number: int, step: Step) -> Result:
    """What a step comes to in the end."""
    given = order(number, step)
    result = seen.host.carry_out(given)
    if result.status is Status.RUNNING:
        seen.world.settle()
        result = seen.host.probe(given)
    return result


def state(seen: Seen, domain: DomainId) -> DomainState | None:
    known = seen.host.situation(None).domain(domain)
    return known.state if known is not None else None


def tokens(arrivals: tuple[Arrival, ...]) -> list[Token]:
    return [each.token for each in arrivals if not isinstance(each, Ended)]


def test_evidence_stays_until_it_is_acknowledged_and_not_longer(seen: Seen) -> None:
    seen.world.corrected()
    first = seen.host.arrivals()
    assert seen.tells == bool([each for each in first if isinstance(each, Telemetry)])
    assert tokens(seen.host.arrivals()) == tokens(first)
    for token in tokens(first):
        seen.host.acknowledge(token)
    assert not set(tokens(seen.host.arrivals())) & set(tokens(first))


def test_an_unknown_token_is_ignored(seen: Seen) -> None:
    seen.world.corrected()
    before = tokens(seen.host.arrivals())
    seen.host.acknowledge(Token(999_999))
    assert tokens(seen.host.arrivals()) == before


def test_at_most_sixty_four_arrivals_at_once(seen: Seen) -> None:
    for page in range(80):
        seen.world.corrected(page)
    assert len(seen.host.arrivals()) <= 64


def test_the_clock_never_goes_back(seen: Seen) -> None:
    before = seen.host.now_ms()
    seen.world.settle(10)
    assert seen.host.now_ms() >= before + 10


def test_the_situation_names_every_domain_and_dom0(seen: Seen) -> None:
    situation = seen.host.situation(None)
    assert {DOM0, seen.world.pv, seen.world.hvm} <= {each.id for each in situation.domains}
    assert situation.dom0.has_handler
    assert not situation.frames


@pytest.mark.parametrize(
    "step",
    [
        PauseDomain(NOBODY),
        UnpauseDomain(NOBODY),
        SaveDomain(NOBODY),
        RestoreDomain(NOBODY),
        MigrateDomain(NOBODY, "elsewhere"),
        ShutDownDomain(NOBODY),
        RestartDomain(NOBODY),
        NotifyGuest(NOBODY, (PAGE,)),
        InjectVmce(NOBODY, PAGE),
        ExchangeFrame(NOBODY, Frame(1)),
        PauseDomain(DOM0),
        DestroyDomain(DOM0),
        SaveDomain(DOM0),
        IsolateFrame(Frame(1 << 50)),
        OfflineFrame(Frame(1 << 50)),
    ],
    ids=repr,
)
def test_ii_4_an_instruction_about_nobody_or_dom0_is_refused_and_changes_nothing(seen: Seen, step: Step) -> None:
    before = seen.host.situation(None)
    result = seen.host.carry_out(order(1, step))
    assert result.status is Status.REFUSED, result
    assert result.because
    assert _still(seen.host.situation(None)) == _still(before)


def _still(situation: Situation) -> object:
    return situation.domains, situation.dom0, situation.free_pages


def test_ii_4_an_answer_that_nobody_asked_for_is_refused(seen: Seen) -> None:
    before = seen.host.situation(None)
    for says in Dom0Says:
        assert seen.host.answer(CaseId(1), seen.world.pv, says).status is Status.REFUSED
    assert _still(seen.host.situation(None)) == _still(before)


def test_ii_2_pause_and_unpause_are_idempotent(seen: Seen) -> None:
    for step, wanted in (
        (PauseDomain(seen.world.hvm), DomainState.PAUSED),
        (PauseDomain(seen.world.hvm), DomainState.PAUSED),
        (UnpauseDomain(seen.world.hvm), DomainState.RUNNING),
        (UnpauseDomain(seen.world.hvm), DomainState.RUNNING),
    ):
        assert carried(seen, 1, step).status is Status.DONE
        assert state(seen, seen.world.hvm) is wanted


def test_ii_2_a_destroyed_domain_is_gone_and_destroying_it_again_is_no_failure(seen: Seen) -> None:
    assert carried(seen, 1, DestroyDomain(seen.world.hvm)).status is Status.DONE
    assert state(seen, seen.world.hvm) in {None, DomainState.DESTROYED}
    assert carried(seen, 2, DestroyDomain(seen.world.hvm)).status in {Status.DONE, Status.REFUSED}


def test_ii_2_a_restarted_domain_runs_again(seen: Seen) -> None:
    assert carried(seen, 1, RestartDomain(seen.world.hvm)).status is Status.DONE
    assert any(each.name == "hvm" and each.state is DomainState.RUNNING for each in seen.host.situation(None).domains)


def test_ii_2_without_a_checkpoint_nothing_is_restored(seen: Seen) -> None:
    assert carried(seen, 1, RestoreDomain(seen.world.hvm)).status is Status.REFUSED
    assert state(seen, seen.world.hvm) is DomainState.RUNNING


def test_ii_3_offlining_a_page_is_idempotent(seen: Seen) -> None:
    frame = seen.world.frame(seen.world.hvm, PAGE)
    for number in (1, 2):
        assert carried(seen, number, OfflineFrame(frame)).succeeded


def test_a_probe_knows_what_became_of_an_order_and_nothing_of_others(seen: Seen) -> None:
    can_save = Capability.SAVE in seen.host.capabilities
    step: Step = SaveDomain(seen.world.hvm) if can_save else ShutDownDomain(seen.world.hvm)
    given = order(77, step)
    seen.host.carry_out(given)
    seen.world.settle()
    assert seen.host.probe(given).status is Status.DONE
    assert seen.host.probe(order(78, step)).status is Status.UNKNOWN


def test_what_is_no_capability_is_refused_and_what_is_one_is_not_called_impossible(seen: Seen) -> None:
    steps: tuple[Step, ...] = (
        NotifyGuest(seen.world.pv, (PAGE,)),
        InjectVmce(seen.world.hvm, PAGE),
        IsolateFrame(seen.world.frame(seen.world.hvm, PAGE)),
    )
    for number, step in enumerate(steps, 1):
        result = seen.host.carry_out(order(number, step))
        if NEEDS[type(step)] not in seen.host.capabilities:
            assert result.status is Status.REFUSED, (step, result)
        else:
            assert result.status is not Status.REFUSED, (step, result)


def test_only_a_backend_that_treats_asks(seen: Seen) -> None:
    seen.world.consumed()
    kinds = {type(each).__name__ for each in seen.host.arrivals()}
    assert ("Question" in kinds) == (Capability.TREATS in seen.host.capabilities)
