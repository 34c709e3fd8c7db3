"""A policy in words: for each row of the concept that it bears on, what would happen, with numbers and their origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.decision.policy import Answer, DomainRule, OnPageTrend, OnRankTrend, OnUnlocated, Operation, Policy
from ringfence.decision.policy_file import PolicyFile
from ringfence.decision.policy_keys import BY_PATH, BY_TABLE, Table, value_of
from ringfence.decision.rows import MEANINGS, Row
from ringfence.world.domain import Domain


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a sentence rests on: the key, the value as a file writes it, and ``default`` or file and line."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Explained:
    """What would happen where rows apply: those of PV and of HVM may be alike. ``values`` is what ``then`` rests on."""

    rows: tuple[Row, ...]
    when: str
    then: str
    values: tuple[Given, ...]


@dataclass(frozen=True, slots=True)
class RuleExplained:
    """What would happen to some domains. ``number`` is the rule's, from 0, None for the domains that no rule matches.

    ``line`` is where the rule begins in the file, None if there is no such place.
    """

    number: int | None
    about: str
    line: int | None
    rows: tuple[Explained, ...]


@dataclass(frozen=True, slots=True)
class PolicyExplained:
    """The whole: what happens to the host, and to domains rule by rule."""

    host: tuple[Explained, ...]
    rules: tuple[RuleExplained, ...]


# --- the words --------------------------------------------------------------------------------------------------------

_UNLOCATED: Final = {
    OnUnlocated.DEGRADE: "nothing is stopped; no new guest starts on this host",
    OnUnlocated.DRAIN: "nothing is stopped; no new guest starts on this host, and those on it are moved away",
    OnUnlocated.HALT: "last words, then the host halts",
}

_ON_PAGE: Final = {
    OnPageTrend.NONE: "nothing is done ahead of an error",
    OnPageTrend.EXCHANGE: "its content is copied to a good page and it is taken out of use",
    OnPageTrend.OFFLINE: "it is taken out of use as soon as its owner lets go of it",
    OnPageTrend.OPERATE: "it is taken out of use; a guest that has it is moved, or saved and restored, by its rule",
}

_ON_RANK: Final = {
    OnRankTrend.NONE: "nothing is done ahead of an error",
    OnRankTrend.OPERATE: "each domain is operated on as its rule allows, at most {at_a_time} at a time",
    OnRankTrend.DRAIN: "all guests that can be moved are moved to another host",
}

_ANSWERS: Final = {
    Answer.NOTIFY: "Dom0 answers that the domain is to be notified",
    Answer.OPERATE: "Dom0 operates on the domain",
    Answer.BOTH: "Dom0 operates on the domain, and informs it",
    Answer.LEAVE: "Dom0 leaves it to the hypervisor, which notifies the domain or kills it",
}


class _Says:
    """Looks values up: in words for sentences, and with their origin."""

    def __init__(self, file: PolicyFile, number: int | None = None) -> None:
        self._file = file
        self._number = number
        self.rule = file.policy.otherwise if number is None else file.policy.domains[number]

    @property
    def table(self) -> Table:
        return Table.OTHERWISE if self._number is None else Table.DOMAIN

    def __call__(self, path: str) -> str:
        """A value in words."""
        key = BY_PATH[path]
        return key.kind.words(value_of(key, self._file.policy, self.rule))

    def of_rule(self, name: str) -> str:
        return self(f"{self.table}.{name}")

    def given(self, *paths: str) -> tuple[Given, ...]:
        found = []
        for path in paths:
            key = BY_PATH[path]
            number = self._number if key.table is Table.DOMAIN else None
            value = key.kind.write(value_of(key, self._file.policy, self.rule))
            found.append(Given(path, value, self._file.origin(key, number)))
        return tuple(found)

    def given_of_rule(self, *names: str) -> tuple[Given, ...]:
        return self.given(*(f"{self.table}.{name}" for name in names))


# --- the host ---------------------------------------------------------------------------------------------------------


def _host(file: PolicyFile) -> tuple[Explained, ...]:
    says = _Says(file)
    policy = file.policy
    evidence = f"Dom0, if it is unhurt, has {says('deadlines.evidence')} to save the evidence"
    return (
        *_trends(says, policy),
        _weighed(says),
        Explained(
            (Row.SELF_HEAL,),
            MEANINGS[Row.SELF_HEAL].condition,
            f"the broken part is taken out of use; if that fails, {evidence}, then last words and a halt",
            says.given("deadlines.evidence"),
        ),
        Explained(
            (Row.NOBODY,),
            MEANINGS[Row.NOBODY].condition,
            "the page is taken out of use; Dom0 is told if it has a handler",
            (),
        ),
        Explained(
            (Row.UNLOCATED,), MEANINGS[Row.UNLOCATED].condition, _UNLOCATED[policy.unlocated], says.given("unlocated")
        ),
        Explained(
            (Row.HALT,),
            MEANINGS[Row.HALT].condition,
            f"{evidence}; the last words have as long; then the host halts",
            says.given("deadlines.evidence"),
        ),
    )


_TOLD: Final = {"row": "row", "dimm": "DIMM", "cache": "cache", "link": "link", "socket": "socket"}


def _trends(says: _Says, policy: Policy) -> tuple[Explained, ...]:
    on_page, on_rank = policy.trends.on_page, policy.trends.on_rank
    budget = f", up to {says('budgets.pages_per_dimm')} pages a DIMM in all" if on_page is not OnPageTrend.NONE else ""
    then = _ON_RANK[on_rank].format(at_a_time=says("budgets.operations_at_a_time"))
    window = says("trends.page_window")
    dry = _if_dry(policy)
    return (
        Explained(
            (Row.AHEAD,),
            f"{says('trends.page_count')} corrected errors of one page within {window}",
            _dry(policy, _ON_PAGE[on_page] + budget),
            says.given(
                "trends.page_count",
                "trends.page_window",
                "trends.engine",
                "trends.on_page",
                "budgets.pages_per_dimm",
                *dry,
            ),
        ),
        Explained(
            (Row.AHEAD, Row.ON_MACHINE),
            f"{says('trends.core_count')} corrected errors of one CPU core within {says('trends.core_window')}",
            _dry(policy, "the logical CPU is taken out of use, if it is not the first"),
            says.given("trends.core_count", "trends.core_window", *dry),
        ),
        Explained(
            (Row.AHEAD, Row.DISTINCT_SYNDROMES),
            f"{says('trends.rank_syndromes')} distinct syndromes of one rank within {says('trends.rank_window')}",
            f"an uncorrected error is expected in {says('trends.rank_ue')}; {_dry(policy, then)}",
            says.given(
                "trends.rank_syndromes",
                "trends.rank_window",
                "trends.rank_ue",
                "trends.on_rank",
                "budgets.operations_at_a_time",
                *dry,
            ),
        ),
        *(
            Explained(
                (Row.AHEAD,),
                f"{says(f'trends.{part}_count')} corrected errors of one {of} within {says(f'trends.{part}_window')}",
                "people are told; a raw count predicts too little to act upon",
                says.given(f"trends.{part}_count", f"trends.{part}_window"),
            )
            for part, of in _TOLD.items()
        ),
    )


def _weighed(says: _Says) -> Explained:
    """What operations are weighed by."""
    return Explained(
        (Row.FEASIBILITY,),
        "an operation on a domain is to be chosen",
        "the loss of each is weighed, as shares of a domain that is gone for good: its run state "
        f"{says('losses.run_state')}, an orderly stop {says('losses.orderly_stop')}, an hour of standstill "
        f"{says('losses.standstill_per_hour')}, until a person comes after {says('losses.person')}; going back to a "
        f"checkpoint of {says('losses.rollback')} loses 63 %. The chance that a lost page is needed is "
        f"{says('losses.lost_page_needed')}, that an error during a copy takes the host along "
        f"{says('losses.copier_takes_host')}. These are judgements, not measurements",
        says.given(*(key.path for key in BY_TABLE[Table.LOSSES].values())),
    )


def _if_dry(policy: Policy) -> tuple[str, ...]:
    return ("dry_run",) if policy.dry_run else ()


def _dry(policy: Policy, then: str) -> str:
    return f"written down, not done (dry run): {then}" if policy.dry_run else then


# --- domains ----------------------------------------------------------------------------------------------------------


def _of_rule(file: PolicyFile, number: int | None) -> RuleExplained:
    says = _Says(file, number)
    rows = (
        _corrected(says),
        *(_asked(says, file.policy, name) for name in ("on_ue", "on_srar")),
        Explained(
            (Row.ALONE,),
            "Dom0 has no handler, or is hurt",
            "the hypervisor notifies it by itself: the rows below apply, without operations",
            (),
        ),
        Explained(
            (Row.PV_HANDLER, Row.HVM_HANDLER),
            "it has a PV MCA handler that serves this class of error",
            f"it is told its lost pages, and has {says('deadlines.guest')} to heal itself",
            says.given("deadlines.guest"),
        ),
        _injected(says),
        _operated(says, file.policy),
        Explained((Row.PV_KILL, Row.HVM_KILL), "nothing above could be done", "it is killed", ()),
        _ahead(says, file.policy),
    )
    line = None if number is None else file.lines.get((Table.DOMAIN, number))
    return RuleExplained(number, _about(says.rule, number), line, rows)


def _about(rule: DomainRule, number: int | None) -> str:
    if number is None:
        return "domains that no rule matches"
    parts = [f'named "{rule.name}"'] if rule.name != "*" else []
    parts += [f"of UUID {rule.uuid}"] if rule.uuid else []
    parts += [f"labelled {', '.join(sorted(rule.labels))}"] if rule.labels else []
    return f"domains {' and '.join(parts)}" if parts else "all domains"


def _corrected(says: _Says) -> Explained:
    informed = "; its agent is told as well" if says.rule.inform_of_ce else ""
    return Explained(
        (Row.COUNT,),
        "corrected error of its memory",
        f"Dom0 is notified if it has a handler, else the error is counted and logged{informed}",
        says.given_of_rule("inform_of_ce"),
    )


def _asked(says: _Says, policy: Policy, name: str) -> Explained:
    when = {"on_ue": "it lost memory that nobody consumed yet", "on_srar": "it consumed the error, and stands still"}[
        name
    ]
    wanted = says.rule.on_ue if name == "on_ue" else says.rule.on_srar
    answer = "Dom0 leaves it to the hypervisor (dry run)" if policy.dry_run else _ANSWERS[wanted]
    return Explained(
        (Row.ASK_DOM0,),
        when,
        f"Dom0, if it has a handler and is unhurt, is asked and has {says('deadlines.dom0')}. {answer}. "
        "If it is silent, the rows below apply",
        (*says.given("deadlines.dom0"), *says.given_of_rule(name), *says.given(*_if_dry(policy))),
    )


def _injected(says: _Says) -> Explained:
    values = (*says.given_of_rule("vmce"), *says.given("budgets.vmces_per_error", "deadlines.mcip"))
    if not says.rule.vmce:
        return Explained(
            (Row.HVM_INJECT, Row.INJECTION), "HVM, and it enabled MCA", "nothing: no vMCE is allowed", values
        )
    return Explained(
        (Row.HVM_INJECT, Row.INJECTION),
        "HVM, and it enabled MCA",
        f"one vMCE for each lost page, if these are at most {says('budgets.vmces_per_error')}; while it is in an "
        f"earlier machine check, {says('deadlines.mcip')} are waited",
        values,
    )


def _if_approved(policy: Policy, operations: tuple[Operation, ...]) -> tuple[str, ...]:
    return () if policy.approve.isdisjoint(operations) else ("approve", "deadlines.approval")


def _approval(says: _Says, policy: Policy, operations: tuple[Operation, ...]) -> str:
    asked = [operation for operation in operations if operation in policy.approve]
    if not asked:
        return ""
    return f"; a person must approve {', '.join(asked)} within {says('deadlines.approval')}"


def _operated(says: _Says, policy: Policy) -> Explained:
    operations = says.rule.operations
    return Explained(
        (Row.PV_DOM0, Row.HVM_DOM0, Row.FEASIBILITY),
        "it cannot be told, or Dom0 has chosen to operate",
        _dry(policy, _least(says, operations) + _approval(says, policy, operations))
        if operations
        else "no operation is allowed: it is killed if it cannot be told",
        (
            *says.given_of_rule("operations", "keep"),
            *says.given("deadlines.operation", *_if_approved(policy, operations), *_if_dry(policy)),
        ),
    )


def _least(says: _Says, operations: tuple[Operation, ...]) -> str:
    names = ", ".join(operations)
    which = f"the one of {names} with the least expected loss, the next one if it fails" if operations[1:] else names
    return f"{which}, in {says('deadlines.operation')}; its loss counts {says.of_rule('keep')}"


_AHEAD_ROWS: Final = (Row.AHEAD, Row.FEASIBILITY)


def _ahead(says: _Says, policy: Policy) -> Explained:
    operations = says.rule.ahead
    values = (
        *says.given("trends.on_rank"),
        *says.given_of_rule("ahead", "keep"),
        *says.given("deadlines.operation", *_if_approved(policy, operations), *_if_dry(policy)),
    )
    when = "a rank that holds its memory is about to fail"
    if policy.trends.on_rank is not OnRankTrend.OPERATE:
        return Explained(
            _AHEAD_ROWS, when, "no operation on this domain alone: the policy for the host applies", values
        )
    if not operations:
        return Explained(_AHEAD_ROWS, when, "nothing: no operation is allowed ahead of an error", values)
    then = _least(says, operations) + _approval(says, policy, operations)
    return Explained(_AHEAD_ROWS, when, _dry(policy, then), values)


# --- the whole --------------------------------------------------------------------------------------------------------


def explain(file: PolicyFile, domain: Domain | None = None) -> PolicyExplained:
    """What a policy would do. With ``domain`` only the rule that is this domain's, without it every rule."""
    policy = file.policy
    numbers: list[int | None] = [*range(len(policy.domains)), None]
    if domain is not None:
        numbers = [next((n for n, rule in enumerate(policy.domains) if rule.matches(domain)), None)]
    return PolicyExplained(_host(file), tuple(_of_rule(file, number) for number in numbers))
