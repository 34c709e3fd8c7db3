"""What each operation would cost, and which is first (concept B.6)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.decision import feasibility
from ringfence.decision.feasibility import Costed, loss_of_waiting, p_ue_within, plan, precopy
from ringfence.decision.policy import DEFAULT, Deadlines, DomainRule, Losses, Operation, Policy
from ringfence.decision.policy_keys import KEYS, Table
from ringfence.world.domain import Checkpoint, Dom0State, Domain, DomainKind, DomainState
from ringfence.world.identities import DOM0, DomainId
from ringfence.world.situation import Destination, Platform, Situation

HOUR = 3_600_000
GIB_4 = 1 << 20
ALL = tuple(Operation)

DATABASE = Domain(
    id=DomainId(3), name="db", kind=DomainKind.HVM, memory_pages=GIB_4, dirty_pages_per_s=25_000,
    checkpoint=Checkpoint(taken_ms=0, disks_of_same_moment=True),
)  # fmt: skip
HOST = Situation(
    now_ms=HOUR, dom0=Dom0State(has_handler=True),
    domains=(DATABASE, Domain(id=DomainId(4), name="web", kind=DomainKind.PV)),
    platform=Platform(migration_pages_per_s=250_000, disk_pages_per_s=100_000),
    destination=Destination(name="spare", free_pages=2 * GIB_4),
)  # fmt: skip


def costs(
    domain: Domain = DATABASE,
    situation: Situation = HOST,
    *,
    operations: tuple[Operation, ...] = ALL,
    poisoned_pages: int = 0,
    expected_ue_ms: int | None = None,
    policy: Policy = DEFAULT,
) -> dict[Operation, Costed]:
    """The plan by operation, in the order of the plan."""
    found = plan(
        domain, operations, situation, poisoned_pages=poisoned_pages, expected_ue_ms=expected_ue_ms, policy=policy
    )
    return {each.operation: each for each in found}


def why_not(operation: Operation, domain: Domain = DATABASE, situation: Situation = HOST, *, poisoned: int = 0) -> str:
    each = costs(domain, situation, poisoned_pages=poisoned)[operation]
    assert each.feasible == (not each.why_not)
    return each.why_not


# --- which is first ---------------------------------------------------------------------------------------------------


def test_without_an_error_in_sight_a_domain_is_moved_and_destroying_it_is_the_last_resort() -> None:
    found = list(costs())
    assert (found[0], found[-1]) == (Operation.MIGRATE, Operation.DESTROY)


def test_when_the_error_is_due_before_a_migration_could_end_a_restart_is_better() -> None:
    """Beulich in the thread: heavy operations are unlikely to succeed if a UE comes soon."""
    large = replace(DATABASE, memory_pages=8 * GIB_4, checkpoint=None)
    roomy = replace(HOST, destination=Destination(name="spare", free_pages=16 * GIB_4))
    later, soon = (
        next(iter(costs(large, roomy, operations=(Operation.MIGRATE, Operation.RESTART), expected_ue_ms=due)))
        for due in (HOUR, 2_000)
    )
    assert (later, soon) == (Operation.MIGRATE, Operation.RESTART)


def test_a_fresh_checkpoint_is_better_than_a_restart_and_an_old_one_is_worse() -> None:
    both = (Operation.RESTART, Operation.RESTORE)
    fresh = costs(situation=replace(HOST, now_ms=6 * HOUR), operations=both, poisoned_pages=1)
    old = costs(situation=replace(HOST, now_ms=8 * HOUR), operations=both, poisoned_pages=1)
    assert (next(iter(fresh)), next(iter(old))) == (Operation.RESTORE, Operation.RESTART)


def test_equal_losses_go_by_time_and_then_by_the_order_of_the_policy() -> None:
    worthless = Policy(otherwise=DomainRule(keep=0))
    alone = replace(HOST, domains=(DATABASE,))
    found = costs(situation=alone, policy=worthless)
    times = [each.time_ms or 0 for each in found.values()]
    assert times == sorted(times)
    twins = (Operation.SAVE, Operation.RESTORE)
    assert tuple(costs(situation=alone, operations=twins, policy=worthless)) == twins
    assert tuple(costs(situation=alone, operations=twins[::-1], policy=worthless)) == twins[::-1]


def test_each_operation_is_costed_once() -> None:
    assert len(costs(operations=(Operation.RESTART, Operation.RESTART))) == 1
    assert plan(DATABASE, (), HOST, poisoned_pages=0, expected_ue_ms=None, policy=DEFAULT) == ()


# --- lost pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [Operation.MIGRATE, Operation.SAVE])
def test_what_would_read_a_lost_page_is_not_possible_unless_it_is_passed_over(operation: Operation) -> None:
    each = costs(poisoned_pages=1)[operation]
    assert each.reads_poisoned_pages
    assert each.why_not == "it would read 1 page lost: Dom0 would consume the error, and the host halt"
    passes = replace(HOST, platform=replace(HOST.platform, skips_broken_pages=True))
    skipping = costs(situation=passes, poisoned_pages=1)[operation]
    assert skipping.feasible
    assert not skipping.reads_poisoned_pages
    assert "assumed: pages known to be broken are passed over, and arrive as holes" in skipping.sum[0]


def test_moving_a_domain_does_not_give_it_its_lost_pages_back() -> None:
    passes = replace(HOST, platform=replace(HOST.platform, skips_broken_pages=True))
    whole, one, two = (costs(situation=passes, poisoned_pages=n)[Operation.MIGRATE].loss_if_done for n in (0, 1, 2))
    assert whole < one < two < DEFAULT.losses.run_state


@pytest.mark.parametrize("operation", [Operation.RESTART, Operation.RESTORE, Operation.DESTROY])
def test_what_gives_the_memory_back_does_not_mind_lost_pages(operation: Operation) -> None:
    assert costs(poisoned_pages=512)[operation] == costs()[operation]


# --- what is not possible ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "domain", "because"),
    [
        (HOST, replace(DATABASE, may_migrate=False), "the domain is tied to this host"),
        (replace(HOST, destination=None), DATABASE, "there is no other host"),
        (replace(HOST, destination=Destination(name="spare", healthy=False)), DATABASE, "spare is not healthy itself"),
        (HOST, replace(DATABASE, memory_pages=0), "how much memory the domain has is not known"),
        (
            replace(HOST, destination=Destination(name="spare", free_pages=1)), DATABASE,
            "spare has 1 page free, the domain 1,048,576",
        ),
        (replace(HOST, platform=Platform()), DATABASE, "what the link to the other host carries is not known"),
        (
            HOST, replace(DATABASE, dirty_pages_per_s=250_000),
            "it rewrites its memory as fast as the link carries it (250,000 of 250,000 pages/s)",
        ),
        (HOST, replace(DATABASE, id=DOM0), "Dom0 is not operated on by itself"),
        (HOST, replace(DATABASE, state=DomainState.CRASHED), "the domain is crashed"),
        (
            replace(HOST, platform=Platform(migration_pages_per_s=8_000)),
            replace(DATABASE, dirty_pages_per_s=0),
            "it needs 2.2 min, and the policy gives operations 2 min",
        ),
    ],
)  # fmt: skip
def test_a_migration_that_cannot_be_done_says_why(situation: Situation, domain: Domain, because: str) -> None:
    assert why_not(Operation.MIGRATE, domain, situation) == because


def test_a_domain_is_restored_only_with_disks_of_the_same_moment() -> None:
    assert why_not(Operation.RESTORE, replace(DATABASE, checkpoint=None)) == "there is no checkpoint"
    without = replace(DATABASE, checkpoint=Checkpoint(taken_ms=0, disks_of_same_moment=False))
    assert why_not(Operation.RESTORE, without).startswith("the disks went on since the checkpoint")
    assert why_not(Operation.RESTORE, situation=replace(HOST, platform=Platform())) == (
        "there is no disk for checkpoints"
    )


def test_a_domain_that_stands_still_cannot_shut_itself_down_but_can_be_moved_at_once() -> None:
    paused = replace(DATABASE, state=DomainState.PAUSED)
    assert why_not(Operation.SHUT_DOWN, paused) == "the domain is paused"
    moved = costs(replace(paused, dirty_pages_per_s=10**9))[Operation.MIGRATE]
    assert (moved.feasible, moved.time_ms) == (True, math.ceil(GIB_4 * 1000 / 250_000))


def test_destroying_stays_possible_however_short_the_deadline() -> None:
    hasty = Policy(deadlines=Deadlines(operation_ms=1))
    found = costs(policy=hasty)
    assert found[Operation.DESTROY].feasible
    assert not found[Operation.SAVE].feasible


@pytest.mark.parametrize("state", DomainState)
@pytest.mark.parametrize("operation", Operation)
def test_every_operation_has_an_answer_in_every_state(operation: Operation, state: DomainState) -> None:
    (each,) = costs(replace(DATABASE, state=state), operations=(operation,)).values()
    assert each.feasible == (state in feasibility.POSSIBLE_IN[operation])


# --- the model --------------------------------------------------------------------------------------------------------


def test_a_migration_sends_what_was_rewritten_until_little_is_left() -> None:
    """A geometric series with the ratio 0.1: 1,000,000 pages, and then 111,110 in four rounds and the guest's stop."""
    found = precopy(1_000_000, 1_000, 10_000)
    assert found is not None
    assert (found.rounds, found.time_ms, found.stopped_ms) == (5, 111_111, 1)


def test_after_five_rounds_the_guest_is_stopped_for_all_that_is_left() -> None:
    found = precopy(1_024_000, 5_000, 10_000)
    assert found is not None
    assert (found.rounds, found.stopped_ms) == (5, 3_200)
    assert precopy(1_024_000, 10_000, 10_000) is None


def test_an_unmeasured_guest_is_taken_to_rewrite_half_of_what_the_link_carries() -> None:
    guessed = costs(replace(DATABASE, dirty_pages_per_s=None))[Operation.MIGRATE]
    assert "125,000 pages/s rewritten (assumed)" in guessed.sum[0]
    measured = costs(replace(DATABASE, dirty_pages_per_s=125_000))[Operation.MIGRATE]
    assert (guessed.time_ms, guessed.expected_loss) == (measured.time_ms, measured.expected_loss)


def test_the_chance_of_the_error_is_that_of_one_without_memory() -> None:
    assert p_ue_within(1000, None) == 0
    assert p_ue_within(1000, 0) == 1
    assert p_ue_within(1000, 1000) == pytest.approx(0.632, abs=1e-3)
    assert 1 - p_ue_within(3000, 1000) == pytest.approx((1 - p_ue_within(1000, 1000)) ** 3)


def test_the_time_for_a_persons_approval_counts() -> None:
    asked = Policy(approve=frozenset({Operation.RESTART}))
    free, approved = (costs(expected_ue_ms=60_000, policy=policy)[Operation.RESTART] for policy in (DEFAULT, asked))
    assert free.p_fail < approved.p_fail
    assert approved.sum[1].endswith("comes within 1.2 min, a person's approval of up to 1 min included")


def test_a_domain_that_is_worth_more_loses_more() -> None:
    dear = Policy(domains=(DomainRule(name="db", keep=10),))
    alone = replace(HOST, domains=(DATABASE,))
    for operation in Operation:
        ordinary, precious = (costs(situation=alone, policy=each)[operation] for each in (DEFAULT, dear))
        assert precious.expected_loss == pytest.approx(10 * ordinary.expected_loss)


def test_a_copy_that_fails_may_take_the_other_domains_along() -> None:
    crowded = replace(HOST, domains=(*HOST.domains, *(replace(DATABASE, id=DomainId(n)) for n in range(10, 30))))
    assert costs(situation=crowded)[Operation.MIGRATE].loss_if_fails > costs()[Operation.MIGRATE].loss_if_fails
    assert costs(situation=crowded)[Operation.RESTART] == costs()[Operation.RESTART]


def test_the_order_of_the_shares_is_as_said() -> None:
    losses = DEFAULT.losses
    fresh = 1 - math.exp(-HOUR / losses.rollback_ms)
    old = 1 - math.exp(-24 * HOUR / losses.rollback_ms)
    shut_down = losses.orderly_stop + losses.left_to_a_person
    shares = [0.0, fresh, losses.left_to_a_person, shut_down, losses.run_state, losses.set_back, old]
    assert shares == sorted(shares)
    assert old < feasibility.GONE


def test_who_weighs_otherwise_says_so_in_the_policy_and_another_operation_is_first() -> None:
    both = (Operation.RESTART, Operation.SHUT_DOWN)
    cheap = replace(DEFAULT, losses=Losses(run_state=0.01))
    assert next(iter(costs(operations=both))) is Operation.SHUT_DOWN
    found = costs(operations=both, policy=cheap)
    assert next(iter(found)) is Operation.RESTART
    assert "lost if done: 0.01 (the run state)" in found[Operation.RESTART].sum


@pytest.mark.parametrize(
    ("key", "losses"),
    [
        ("run_state", Losses(run_state=0.5)),
        ("orderly_stop", Losses(orderly_stop=0.2)),
        ("standstill_per_hour", Losses(standstill_per_hour=0.02)),
        ("person", Losses(person_ms=HOUR)),
        ("rollback", Losses(rollback_ms=HOUR)),
        ("lost_page_needed", Losses(lost_page_needed=0.9)),
        ("copier_takes_host", Losses(copier_takes_host=0.7)),
    ],
)
def test_every_judgement_of_the_policy_is_seen_in_a_sum(key: str, losses: Losses) -> None:
    """What a person can turn, a person can read where it enters."""
    assert key in {each.name for each in KEYS if each.table is Table.LOSSES}
    skips = replace(HOST, platform=replace(HOST.platform, skips_broken_pages=True))
    usual, turned = (
        [each.sum for each in costs(situation=skips, poisoned_pages=1, expected_ue_ms=HOUR, policy=policy).values()]
        for policy in (DEFAULT, replace(DEFAULT, losses=losses))
    )
    assert usual != turned


def test_doing_nothing_is_better_than_saving_when_the_error_is_a_week_away() -> None:
    week = 7 * 24 * HOUR
    assert loss_of_waiting(DATABASE, week, DEFAULT) < costs(expected_ue_ms=week)[Operation.SAVE].expected_loss
    assert loss_of_waiting(DATABASE, HOUR, DEFAULT) > costs(expected_ue_ms=HOUR)[Operation.SAVE].expected_loss
    assert loss_of_waiting(DATABASE, None, DEFAULT) == 0


def test_the_sum_can_be_read() -> None:
    found = costs(expected_ue_ms=60_000, policy=Policy(otherwise=DomainRule(keep=2)))
    assert "\n".join(found[Operation.MIGRATE].sum) == (
        "time: 1,048,576 pages at 250,000 pages/s, 25,000 pages/s rewritten: 5 rounds, 4.7 s in all, stopped for 1 ms\n"
        "chance of failure: 7.47% that the uncorrected error, expected in 1 min, comes within 4.7 s\n"
        "lost if done: 2 x 0 (it is stopped for 1 ms)\n"
        "lost if not: 2 x 0.33 (the run state, and it stands still until a person comes, 8 h) + 10.00% that it "
        "takes the host along x 0.66 (the others)\n"
        "expected loss: 92.53% x 0 + 7.47% x 0.726 = 0.0543"
    )
    assert "\n".join(costs(poisoned_pages=2)[Operation.SHUT_DOWN].sum) == (
        "time: its services stop in order, 1.5 min at most\n"
        "chance of failure: no uncorrected error is expected\n"
        "chance of failure: 75.00% that it needs one of 2 pages lost on the way\n"
        "lost if done: 0.18 (its sessions, and it stands still until a person starts it, 8 h)\n"
        "lost if not: 0.33 (the run state, and it stands still until a person comes, 8 h)\n"
        "expected loss: 25.00% x 0.18 + 75.00% x 0.33 = 0.2925"
    )
    assert costs(replace(DATABASE, checkpoint=None))[Operation.RESTORE].sum == ("not possible: there is no checkpoint",)


# --- laws -------------------------------------------------------------------------------------------------------------

domains = st.builds(
    Domain,
    id=st.sampled_from([DOM0, DomainId(3)]),
    name=st.sampled_from(["db", "web"]),
    kind=st.sampled_from(DomainKind),
    state=st.sampled_from([DomainState.RUNNING, DomainState.RUNNING, DomainState.PAUSED, DomainState.CRASHED]),
    memory_pages=st.integers(0, 1 << 28),
    dirty_pages_per_s=st.none() | st.integers(0, 1 << 20),
    may_migrate=st.booleans(),
    checkpoint=st.none() | st.builds(Checkpoint, taken_ms=st.integers(0, 1 << 40), disks_of_same_moment=st.booleans()),
)
situations = st.builds(
    Situation,
    now_ms=st.integers(0, 1 << 40),
    dom0=st.just(Dom0State(has_handler=True)),
    domains=st.lists(domains, max_size=3).map(tuple),
    platform=st.builds(
        Platform,
        migration_pages_per_s=st.integers(0, 1 << 20),
        disk_pages_per_s=st.integers(0, 1 << 20),
        skips_broken_pages=st.booleans(),
    ),
    destination=st.none()
    | st.builds(Destination, name=st.just("b"), healthy=st.booleans(), free_pages=st.integers(0, 1 << 28)),
)
share = st.floats(0, 1)
policies = st.builds(
    Policy,
    losses=st.builds(
        Losses,
        run_state=share,
        orderly_stop=share,
        standstill_per_hour=share,
        person_ms=st.integers(60_000, HOUR * 720),
        rollback_ms=st.integers(60_000, HOUR * 8_760),
        lost_page_needed=share,
        copier_takes_host=share,
    ),
    deadlines=st.builds(Deadlines, operation_ms=st.integers(1_000, 24 * HOUR)),
    approve=st.frozensets(st.sampled_from(Operation)),
    otherwise=st.builds(DomainRule, keep=st.floats(0, 1000)),
)
dues = st.none() | st.integers(-1, 1 << 50)
lost = st.integers(0, 1024)


@given(domains, situations, policies, dues, lost)
def test_what_cannot_be_done_is_never_before_what_can(
    domain: Domain, situation: Situation, policy: Policy, due: int | None, poisoned: int
) -> None:
    found = list(costs(domain, situation, policy=policy, expected_ue_ms=due, poisoned_pages=poisoned).values())
    can = [each for each in found if each.feasible]
    assert found[: len(can)] == can
    assert [each.expected_loss for each in can] == sorted(each.expected_loss for each in can)
    assert all(each.time_ms is not None for each in can)
    assert not any(each.reads_poisoned_pages for each in can)


@given(domains, situations, policies, dues, lost)
def test_an_expected_loss_lies_between_success_and_failure_and_these_between_nothing_and_all(
    domain: Domain, situation: Situation, policy: Policy, due: int | None, poisoned: int
) -> None:
    keep = policy.otherwise.keep
    most = keep + keep * len(situation.domains)
    for each in costs(domain, situation, policy=policy, expected_ue_ms=due, poisoned_pages=poisoned).values():
        assert 0 <= each.p_fail <= 1
        slack = 1e-9 * (1 + most)
        assert 0 <= each.loss_if_done <= each.loss_if_fails + slack
        assert each.loss_if_done - slack <= each.expected_loss <= each.loss_if_fails + slack
        assert each.loss_if_fails <= most + slack


@given(domains, situations, policies, dues, dues, lost)
def test_a_sooner_error_never_makes_an_operation_better(
    domain: Domain, situation: Situation, policy: Policy, one: int | None, other: int | None, poisoned: int
) -> None:
    sooner, later = sorted((one, other), key=lambda due: math.inf if due is None else due)
    soon, late = (
        costs(domain, situation, policy=policy, expected_ue_ms=due, poisoned_pages=poisoned) for due in (sooner, later)
    )
    for operation in Operation:
        assert soon[operation].feasible == late[operation].feasible
        assert soon[operation].expected_loss >= late[operation].expected_loss - 1e-9 * (1 + policy.otherwise.keep)


@given(st.integers(1, 1 << 26), st.integers(1, 1 << 26), st.integers(1, 1 << 40))
def test_of_two_that_lose_alike_the_longer_never_gets_ahead_of_the_shorter(one: int, other: int, due: int) -> None:
    """Saving and saving: the same losses, the time alone differs, whenever the error is due."""
    patient = Policy(deadlines=Deadlines(operation_ms=10**9))
    short, long = (
        costs(replace(DATABASE, memory_pages=pages), expected_ue_ms=due, policy=patient)[Operation.SAVE]
        for pages in sorted((one, other))
    )
    assert short.loss_if_fails == long.loss_if_fails
    assert short.expected_loss <= long.expected_loss


@given(st.integers(1, 1 << 28), st.integers(0, 1 << 20), st.integers(1, 1 << 20))
def test_a_migration_takes_longer_than_one_copy_and_its_stop_is_part_of_it(memory: int, dirty: int, link: int) -> None:
    found = precopy(memory, dirty, link)
    assert (found is None) == (dirty >= link)
    if found is not None:
        assert found.time_ms >= memory * 1000 // link
        assert found.stopped_ms <= found.time_ms
