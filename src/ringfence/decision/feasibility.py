"""What each case II operation on a domain would cost, and which is the best (concept B.6).

The measure of a loss is **an ordinary domain, gone for good**: 1.0 is what ``DESTROY`` costs a domain whose rule says
``keep = 1``. Everything else is a share of it, times ``keep``. The shares and chances are judgements: they stand in the
policy (``Losses``), and in every sum, so that who disagrees sees where. How long a short operation takes is taken from
the table below.

Times are milliseconds, memory is pages of 4 KiB. The uncorrected error is taken to come without memory, at the rate
``1 / expected_ue_ms``: the chance that it comes within ``t`` is ``1 - exp(-t / expected_ue_ms)``. It is taken to hit
the domain that is operated on, which is the worst case for a trend that names a rank and not a page.

Not counted: what a domain that serves others (driver domain) costs those, and errors after the operation ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ringfence.decision.durations import about
from ringfence.decision.policy import Losses, Operation, Policy
from ringfence.world.domain import LIVING, Domain, DomainState
from ringfence.world.situation import Situation

# --- what is lost, as a share of a domain ---------------------------------------------------------------------------

GONE: Final = 1.0
"""The domain does not exist any more, and somebody must rebuild it. The measure itself."""

# --- how long it takes ------------------------------------------------------------------------------------------------

PAUSE_MS: Final = 100
"""A hypercall that waits for the vCPUs to leave their CPUs; one scheduling quantum of Xen's credit2 and then some."""

DESTROY_MS: Final = 2_000
"""The hypervisor gives the memory back page by page, seconds for a large guest."""

RESTART_MS: Final = 10_000
"""Destroy, and build the domain anew until its first instruction. That it then boots is part of the run state."""

SHUT_DOWN_MS: Final = 90_000
"""What systemd gives a service to stop (DefaultTimeoutStopSec) before it is killed."""

PRECOPY_ROUNDS: Final = 5
"""Rounds of live migration before the guest is stopped for the rest (Xen, tools/libs/guest/xg_sr_save.c)."""

PRECOPY_REST_PAGES: Final = 50
"""With fewer pages than this left it is stopped sooner (ibid.)."""

ASSUMED_DIRTY_SHARE: Final = 0.5
"""How fast a guest rewrites its memory against the link, if nobody measured: memory goes over it twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costed:
    """One operation with its cost.

    ``time_ms`` is None if it cannot be told. ``reads_poisoned_pages``: it would copy a lost page. ``p_fail`` is the
    chance that it does not succeed, ``loss_if_done`` and ``loss_if_fails`` what is lost either way, and
    ``expected_loss`` the mean of both, all in ordinary domains (module docstring); an operation that is not
    ``feasible`` counts as failed. ``sum`` is the calculation, line by line, for a person to read.
    """

    operation: Operation
    feasible: bool
    why_not: str = ""
    time_ms: int | None = None
    reads_poisoned_pages: bool = False
    p_fail: float
    loss_if_done: float
    loss_if_fails: float
    expected_loss: float
    sum: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What every operation is weighed against."""

    domain: Domain
    situation: Situation
    poisoned_pages: int
    expected_ue_ms: int | None
    policy: Policy

    @property
    def keep(self) -> float:
        return self.policy.rule_for(self.domain).keep

    @property
    def losses(self) -> Losses:
        return self.policy.losses

    @property
    def others(self) -> float:
        """What a halt of the host costs all other domains that live on it."""
        return self.losses.set_back * sum(
            self.policy.rule_for(other).keep
            for other in self.situation.domains
            if other.lives and not other.is_dom0 and other.id != self.domain.id
        )

    @property
    def p_hole_missed(self) -> float:
        """The chance that the guest fails for want of its lost pages, if it goes on with holes in their place."""
        return 1.0 - (1.0 - self.losses.lost_page_needed) ** self.poisoned_pages


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """One operation before the weighing. Losses are shares of the domain.

    ``if_fails`` is what it costs to fail half way, None for the domain set back. ``p_host`` is the chance that a
    failure takes the host along, ``others`` what all other domains lose then. ``exposed_ms`` is how long the error must
    stay away, None for as long as the operation itself takes.
    """

    time_ms: int | None
    how_long: str = ""
    if_done: float
    done_is: str
    if_fails: float | None = None
    fails_is: str = ""
    p_host: float = 0.0
    others: float = 0.0
    exposed_ms: int | None = None
    p_other: float = 0.0
    p_other_is: str = ""
    why_not: str = ""
    reads_poison: bool = False


def _pages(count: int) -> str:
    return f"{count:,} page" if count == 1 else f"{count:,} pages"


def _ms(pages: float, pages_per_s: int) -> int:
    return math.ceil(pages * 1_000 / pages_per_s)


# --- one estimate an operation ----------------------------------------------------------------------------------------


def _until(case: _Case, who: str) -> str:
    return f"it stands still until a person {who}, {about(case.losses.person_ms)}"


def _hole(case: _Case) -> float:
    return case.p_hole_missed * case.losses.run_state


def _pause(case: _Case) -> _Estimate:
    return _Estimate(
        time_ms=PAUSE_MS,
        how_long=f"a hypercall, {about(PAUSE_MS)}",
        exposed_ms=case.losses.person_ms,
        if_done=case.losses.left_to_a_person + _hole(case),
        done_is=_until(case, "comes") + _hole_words(case),
    )


def _hole_words(case: _Case) -> str:
    if not case.poisoned_pages:
        return ""
    return f"; {case.p_hole_missed:.0%} that it then needs one of {_pages(case.poisoned_pages)} lost, and its run state"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """How a copy of the whole memory would go: how long it takes, in words too, and why it cannot be done."""

    time_ms: int | None = None
    how_long: str = ""
    why_not: str = ""


def _copy(case: _Case, course: _Course, standstill: float, done_is: str) -> _Estimate:
    """An operation by which Dom0 reads the domain's whole memory."""
    how_long, why_not = course.how_long, course.why_not
    reads_poison = bool(case.poisoned_pages) and not case.situation.platform.skips_broken_pages
    if reads_poison:
        why_not = f"it would read {_pages(case.poisoned_pages)} lost: Dom0 would consume the error, and the host halt"
    elif case.poisoned_pages:
        how_long += "; assumed: pages known to be broken are passed over, and arrive as holes"
    return _Estimate(
        time_ms=course.time_ms,
        how_long=how_long,
        if_done=standstill + _hole(case),
        done_is=done_is + _hole_words(case),
        p_host=1.0 if reads_poison else case.losses.copier_takes_host,
        others=case.others,
        reads_poison=reads_poison,
        why_not=why_not,
    )


def _through_disk(case: _Case, way: str) -> _Course:
    """The domain's whole memory through the disk of checkpoints."""
    rate = case.situation.platform.disk_pages_per_s
    if rate <= 0:
        return _Course(why_not="there is no disk for checkpoints")
    if case.domain.memory_pages <= 0:
        return _Course(why_not="how much memory the domain has is not known")
    time_ms = _ms(case.domain.memory_pages, rate)
    words = f"{_pages(case.domain.memory_pages)} {way} at {rate:,} pages/s: {about(time_ms)}"
    return _Course(time_ms=time_ms, how_long=words)


def _save(case: _Case) -> _Estimate:
    return _copy(case, _through_disk(case, "to disk"), case.losses.left_to_a_person, _until(case, "restores it"))


@dataclass(frozen=True, slots=True)
class Precopy:
    """How a live migration goes: the whole time, and how long the guest is stopped at its end."""

    time_ms: int
    stopped_ms: int
    rounds: int


def precopy(memory_pages: int, dirty_pages_per_s: float, pages_per_s: int) -> Precopy | None:
    """Live migration by pre-copy: a round sends what was rewritten during the one before, ``dirty / bandwidth`` of it.

    None if that does not converge: the guest rewrites its memory as fast as the link carries it. Xen would then stop
    it for the time of a whole copy, QEMU would go on for ever.
    """
    ratio = dirty_pages_per_s / pages_per_s
    if ratio >= 1:
        return None
    left, sent, rounds = float(memory_pages), 0.0, 0
    while rounds < PRECOPY_ROUNDS and left >= PRECOPY_REST_PAGES:
        sent += left
        left *= ratio
        rounds += 1
    return Precopy(_ms(sent + left, pages_per_s), _ms(left, pages_per_s), rounds)


def _migrate_impossible(case: _Case) -> str:
    destination = case.situation.destination
    if not case.domain.may_migrate:
        return "the domain is tied to this host"
    if destination is None:
        return "there is no other host"
    if not destination.healthy:
        return f"{destination.name} is not healthy itself"
    if case.domain.memory_pages <= 0:
        return "how much memory the domain has is not known"
    if destination.free_pages < case.domain.memory_pages:
        return f"{destination.name} has {_pages(destination.free_pages)} free, the domain {case.domain.memory_pages:,}"
    if case.situation.platform.migration_pages_per_s <= 0:
        return "what the link to the other host carries is not known"
    return ""


def _migrate(case: _Case) -> _Estimate:
    if why_not := _migrate_impossible(case):
        return _copy(case, _Course(why_not=why_not), 0.0, "nothing")
    rate = case.situation.platform.migration_pages_per_s
    running = case.domain.state is DomainState.RUNNING
    known = case.domain.dirty_pages_per_s if running else 0
    dirty = rate * ASSUMED_DIRTY_SHARE if known is None else known
    rewritten = f"{dirty:,.0f} pages/s rewritten" + (" (assumed)" if known is None else "")
    course = precopy(case.domain.memory_pages, dirty, rate)
    if course is None:
        why_not = f"it rewrites its memory as fast as the link carries it ({dirty:,.0f} of {rate:,} pages/s)"
        return _copy(case, _Course(how_long=f"no end: {rewritten}", why_not=why_not), 0.0, "nothing")
    words = (
        f"{_pages(case.domain.memory_pages)} at {rate:,} pages/s, {rewritten}: {course.rounds} "
        f"round{'s' * (course.rounds != 1)}, {about(course.time_ms)} in all, stopped for {about(course.stopped_ms)}"
    )
    # A stop as long as the night that set_back counts would else cost less to fail at than to do.
    losses = case.losses
    standstill = min(losses.left_to_a_person, losses.standstill_per_hour * course.stopped_ms / 3_600_000)
    stopped = f"it is stopped for {about(course.stopped_ms)}"
    return _copy(case, _Course(time_ms=course.time_ms, how_long=words), standstill, stopped)


def _shut_down(case: _Case) -> _Estimate:
    return _Estimate(
        time_ms=SHUT_DOWN_MS,
        how_long=f"its services stop in order, {about(SHUT_DOWN_MS)} at most",
        p_other=case.p_hole_missed,
        p_other_is=f"it needs one of {_pages(case.poisoned_pages)} lost on the way" if case.poisoned_pages else "",
        if_done=case.losses.orderly_stop + case.losses.left_to_a_person,
        done_is=f"its sessions, and {_until(case, 'starts it')}",
    )


def _restart(case: _Case) -> _Estimate:
    return _Estimate(
        time_ms=RESTART_MS,
        how_long=f"destroyed and built anew, {about(RESTART_MS)}",
        if_done=case.losses.run_state,
        done_is="the run state",
    )


def _restore(case: _Case) -> _Estimate:
    checkpoint = case.domain.checkpoint
    course = _through_disk(case, "from disk")
    if checkpoint is None:
        return _Estimate(
            time_ms=None,
            if_done=GONE,
            done_is="the domain",
            if_fails=GONE,
            fails_is="the domain",
            why_not="there is no checkpoint",
        )
    why_not = course.why_not
    if not checkpoint.disks_of_same_moment:
        why_not = "the disks went on since the checkpoint: a restore over them would corrupt their file systems"
    age_ms = max(0, case.situation.now_ms - checkpoint.taken_ms)
    rolled_back = -math.expm1(-age_ms / case.losses.rollback_ms)
    return _Estimate(
        time_ms=course.time_ms,
        how_long=course.how_long,
        if_done=rolled_back,
        done_is=f"what came since the checkpoint, {about(age_ms)} ago",
        if_fails=rolled_back + case.losses.set_back,
        fails_is=f"that, the run state, and {_until(case, 'comes')}",
        why_not=why_not,
    )


def _destroy(_case: _Case) -> _Estimate:
    return _Estimate(
        time_ms=DESTROY_MS,
        how_long=f"its memory is given back, {about(DESTROY_MS)}",
        if_done=GONE,
        done_is="the domain",
        if_fails=GONE,
        fails_is="the domain",
    )


_ESTIMATES: Final[Mapping[Operation, Callable[[_Case], _Estimate]]] = MappingProxyType(
    {
        Operation.PAUSE: _pause,
        Operation.SAVE: _save,
        Operation.RESTORE: _restore,
        Operation.MIGRATE: _migrate,
        Operation.SHUT_DOWN: _shut_down,
        Operation.RESTART: _restart,
        Operation.DESTROY: _destroy,
    }
)

_ENDED: Final = frozenset({DomainState.CRASHED, DomainState.SHUT_DOWN})

POSSIBLE_IN: Final[Mapping[Operation, frozenset[DomainState]]] = MappingProxyType(
    {
        Operation.PAUSE: LIVING,
        Operation.SAVE: LIVING,
        Operation.RESTORE: LIVING | _ENDED,
        Operation.MIGRATE: LIVING,
        Operation.SHUT_DOWN: frozenset({DomainState.RUNNING}),
        Operation.RESTART: LIVING | _ENDED,
        Operation.DESTROY: LIVING | _ENDED,
    }
)
"""The states of a domain in which an operation is possible (II.4). One that stands still cannot shut itself down."""

_BOUND_BY_DEADLINE: Final = frozenset({Operation.SAVE, Operation.RESTORE, Operation.MIGRATE, Operation.SHUT_DOWN})
"""Operations whose time is known well enough to say beforehand that they would be cut short. The others are short, and
DESTROY must stay possible, or there would be no last resort."""


def _obstacle(operation: Operation, case: _Case, estimate: _Estimate) -> str:
    """Why the operation cannot be done; empty if it can."""
    if case.domain.is_dom0:
        return "Dom0 is not operated on by itself"
    if case.domain.state not in POSSIBLE_IN[operation]:
        return f"the domain is {case.domain.state}"
    if estimate.why_not:
        return estimate.why_not
    allowed = case.policy.deadlines.operation_ms
    if operation in _BOUND_BY_DEADLINE and estimate.time_ms is not None and estimate.time_ms > allowed:
        return f"it needs {about(estimate.time_ms)}, and the policy gives operations {about(allowed)}"
    return ""


# --- the weighing -----------------------------------------------------------------------------------------------------


def p_ue_within(time_ms: int, expected_ue_ms: int | None) -> float:
    """The chance that the uncorrected error comes within a time; 0 if none is expected, 1 if it is due now."""
    if expected_ue_ms is None:
        return 0.0
    return 1.0 if expected_ue_ms <= 0 else -math.expm1(-time_ms / expected_ue_ms)


def _loss(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _chance(value: float) -> str:
    return f"{value:.2%}"


def _cost(operation: Operation, case: _Case) -> Costed:
    estimate = _ESTIMATES[operation](case)
    why_not = _obstacle(operation, case, estimate)
    share, share_if_fails = _shares(case, estimate)
    done = case.keep * share
    fails = case.keep * share_if_fails + estimate.p_host * estimate.others
    if why_not:
        p_fail, lines = 1.0, [f"not possible: {why_not}"]
    else:
        p_fail, lines = _p_fail(operation, case, estimate)
        lines += _weighed(case, estimate, done, p_fail, fails)
    return Costed(
        operation=operation,
        feasible=not why_not,
        why_not=why_not,
        time_ms=estimate.time_ms,
        reads_poisoned_pages=estimate.reads_poison,
        p_fail=p_fail,
        loss_if_done=done,
        loss_if_fails=fails,
        expected_loss=_mean(done, p_fail, fails),
        sum=(*([f"time: {estimate.how_long}"] if estimate.how_long else []), *lines),
    )


def _mean(done: float, p_fail: float, fails: float) -> float:
    return done + p_fail * (fails - done)


def _shares(case: _Case, estimate: _Estimate) -> tuple[float, float]:
    """What is lost of the domain if the operation is done, and if not: no less then, and never more than the domain."""
    done = min(GONE, estimate.if_done)
    fails = case.losses.set_back if estimate.if_fails is None else estimate.if_fails
    return done, max(done, min(GONE, fails))


def _weighed(case: _Case, estimate: _Estimate, done: float, p_fail: float, fails: float) -> list[str]:
    weight = "" if case.keep == 1 else f"{case.keep:g} x "
    share, share_if_fails = _shares(case, estimate)
    others = ""
    if estimate.others and estimate.p_host:
        others = f" + {_chance(estimate.p_host)} that it takes the host along x {_loss(estimate.others)} (the others)"
    fails_is = estimate.fails_is or f"the run state, and {_until(case, 'comes')}"
    return [
        f"lost if done: {weight}{_loss(share)} ({estimate.done_is})",
        f"lost if not: {weight}{_loss(share_if_fails)} ({fails_is}){others}",
        f"expected loss: {_chance(1 - p_fail)} x {_loss(done)} + {_chance(p_fail)} x {_loss(fails)} = "
        f"{_loss(_mean(done, p_fail, fails))}",
    ]


def _p_fail(operation: Operation, case: _Case, estimate: _Estimate) -> tuple[float, list[str]]:
    """The chance that a possible operation does not succeed, and how it comes about."""
    exposed = estimate.exposed_ms if estimate.exposed_ms is not None else estimate.time_ms or 0
    waits = ""
    if operation in case.policy.approve:
        exposed += case.policy.deadlines.approval_ms
        waits = f", a person's approval of up to {about(case.policy.deadlines.approval_ms)} included"
    p_ue = p_ue_within(exposed, case.expected_ue_ms)
    if case.expected_ue_ms is None:
        lines = ["chance of failure: no uncorrected error is expected"]
    else:
        lines = [
            f"chance of failure: {_chance(p_ue)} that the uncorrected error, expected in "
            f"{about(max(0, case.expected_ue_ms))}, comes within {about(exposed)}{waits}"
        ]
    if estimate.p_other:
        lines.append(f"chance of failure: {_chance(estimate.p_other)} that {estimate.p_other_is}")
    return 1.0 - (1.0 - p_ue) * (1.0 - estimate.p_other), lines


def plan(  # noqa: PLR0913 (one argument a fact, and the last three are named)
    domain: Domain,
    operations: tuple[Operation, ...],
    situation: Situation,
    *,
    poisoned_pages: int,
    expected_ue_ms: int | None,
    policy: Policy,
) -> tuple[Costed, ...]:
    """The operations with their costs, the best first: those that can be done by least expected loss, then the others.

    ``poisoned_pages`` of the domain are lost, ``expected_ue_ms`` is the mean time to the uncorrected error that a trend
    suggests (None: none is expected). Among equal losses the shorter is first, among equal times the one that stands
    first in ``operations``. The first is to be tried, the next ones that are feasible are its fallbacks, in order.
    """
    case = _Case(
        domain=domain,
        situation=situation,
        poisoned_pages=poisoned_pages,
        expected_ue_ms=expected_ue_ms,
        policy=policy,
    )
    costed = (_cost(operation, case) for operation in dict.fromkeys(operations))
    return tuple(sorted(costed, key=lambda each: (not each.feasible, each.expected_loss, each.time_ms or 0)))


def loss_of_waiting(domain: Domain, expected_ue_ms: int | None, policy: Policy) -> float:
    """What it is expected to cost to do nothing ahead of an error, in the measure of ``Costed.expected_loss``.

    The error comes before a person does, and sets the domain back. An operation ahead of an error (II.1) is worth
    doing only if its expected loss is less.
    """
    losses = policy.losses
    return policy.rule_for(domain).keep * p_ue_within(losses.person_ms, expected_ue_ms) * losses.set_back


def sum_of_waiting(domain: Domain, expected_ue_ms: int | None, policy: Policy) -> str:
    """The calculation of ``loss_of_waiting``, for a person to read."""
    if expected_ue_ms is None:
        return "no uncorrected error is expected = 0"
    losses, keep = policy.losses, policy.rule_for(domain).keep
    weight = "" if keep == 1 else f"{keep:g} x "
    return (
        f"{_chance(p_ue_within(losses.person_ms, expected_ue_ms))} that the uncorrected error, expected in "
        f"{about(max(0, expected_ue_ms))}, comes within {about(losses.person_ms)}, before a person does, x {weight}"
        f"{_loss(losses.set_back)} (the run state, and it stands still until then) = "
        f"{_loss(loss_of_waiting(domain, expected_ue_ms, policy))}"
    )
