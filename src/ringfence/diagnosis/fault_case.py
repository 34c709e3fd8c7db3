"""A fault over its time, as in FMA: suspected, acted upon, repaired; one transition table for it.

           THRESHOLD              ACTING              DONE
    (none) ---------> DIAGNOSED ----------> ACTING ---------> ISOLATED
                       ^ ^  |                 | FAILED          |
             THRESHOLD | |  | NOTHING_TO_DO   v                 |
                       | |  `----------> UNTREATED              |
                       | `-------------------'                  |
                       `----------------------------------------'  THRESHOLD, REBOOTED

    from each of these: REPAIRED, REPLACED or ACQUITTED (told by a person, or seen by a serial number) ends it.

A fault that has ended is not taken up again: what comes after it is a new one, and what is older than its end, or was
left in a bank from before, is no evidence (``is_evidence``). An action that failed is tried again when the errors since
then reach twice the threshold, then four times, and so on (mcelog page.c does so, memory-ce-offline-retry).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final

from ringfence.errors import IllegalEventError
from ringfence.world.identities import CaseId
from ringfence.world.situation import Suspect

CASES_KEPT: Final = 8
"""Of a fault: one for each doubling of its threshold, and the first."""

MOST_PATIENT: Final = 6
"""Failures after which the threshold grows no more: 64 times."""


class Stage(StrEnum):
    """Where a fault stands; the last three are ends (FMA: repaired, replaced, acquitted)."""

    DIAGNOSED = auto()
    """Its errors passed a threshold (FMA: solved)."""
    ACTING = auto()
    ISOLATED = auto()
    """The part is out of use, or nothing of worth is left in it (FMA: closed)."""
    UNTREATED = auto()
    """What was tried failed, or there is nothing that can be done ahead: a person must replace it."""
    REPAIRED = auto()
    REPLACED = auto()
    ACQUITTED = auto()


class Told(StrEnum):
    """What can be told of a fault."""

    THRESHOLD = auto()
    """Its errors passed the threshold (again)."""
    ACTING = auto()
    NOTHING_TO_DO = auto()
    DONE = auto()
    FAILED = auto()
    REPAIRED = auto()
    """A person mended it (reseated it, updated its firmware)."""
    REPLACED = auto()
    """Another part is in its place."""
    ACQUITTED = auto()
    """A person says that it was not at fault (FMA: fmadm acquit)."""
    REBOOTED = auto()
    """The host was: what was taken out of use is in use again."""


class Ending(StrEnum):
    """How a fault ends; each is a ``Told`` and a ``Stage`` of the same name."""

    REPAIRED = auto()
    REPLACED = auto()
    ACQUITTED = auto()


ENDS: Final = frozenset(Stage(end) for end in Ending)
"""Stages that end a fault."""

_LIVE: Final = (Stage.DIAGNOSED, Stage.ACTING, Stage.ISOLATED, Stage.UNTREATED)

TABLE: Final[Mapping[tuple[Stage, Told], Stage]] = MappingProxyType(
    {
        (Stage.DIAGNOSED, Told.THRESHOLD): Stage.DIAGNOSED,
        (Stage.DIAGNOSED, Told.ACTING): Stage.ACTING,
        (Stage.DIAGNOSED, Told.NOTHING_TO_DO): Stage.UNTREATED,
        (Stage.ACTING, Told.THRESHOLD): Stage.ACTING,
        (Stage.ACTING, Told.DONE): Stage.ISOLATED,
        (Stage.ACTING, Told.FAILED): Stage.UNTREATED,
        (Stage.ISOLATED, Told.THRESHOLD): Stage.DIAGNOSED,
        (Stage.UNTREATED, Told.THRESHOLD): Stage.DIAGNOSED,
        (Stage.DIAGNOSED, Told.REBOOTED): Stage.DIAGNOSED,
        (Stage.ACTING, Told.REBOOTED): Stage.DIAGNOSED,
        (Stage.ISOLATED, Told.REBOOTED): Stage.DIAGNOSED,
        (Stage.UNTREATED, Told.REBOOTED): Stage.UNTREATED,
        **{(stage, Told(end)): Stage(end) for stage in _LIVE for end in Ending},
    }
)
"""What is not in it is refused."""

_FAILURES: Final = frozenset({(Stage.ACTING, Told.FAILED), (Stage.DIAGNOSED, Told.NOTHING_TO_DO)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. Times are milliseconds on the host's clock; ``since_ms`` is when it came to its stage.
    ``failures`` counts what did not help: actions, and finding that there is none. ``rule``, ``grade`` and ``evidence``
    are the suspect's, as ``diagnosis.suspects`` found them last; ``who`` ended it. ``cases`` are those that acted on
    it, the newest last (at most ``CASES_KEPT``).
    """

    suspect: Suspect
    name: str
    opened_ms: int
    since_ms: int
    stage: Stage = Stage.DIAGNOSED
    failures: int = 0
    rule: str = ""
    grade: str = ""
    evidence: tuple[str, ...] = ()
    who: str = ""
    cases: tuple[CaseId, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it was repaired, replaced or acquitted."""
        return self.stage in ENDS


def advance(fault: Fault, told: Told, at_ms: int, *, who: str = "") -> Fault:
    """The fault after it was told something. Raises IllegalEventError for what its stage does not allow."""
    after = TABLE.get((fault.stage, told))
    if after is None:
        allowed = tuple(each for stage, each in TABLE if stage is fault.stage)
        raise IllegalEventError(fault.stage, told, allowed)
    return replace(
        fault,
        stage=after,
        since_ms=at_ms if after is not fault.stage else fault.since_ms,
        failures=fault.failures + ((fault.stage, told) in _FAILURES),
        who=who or fault.who,
    )


def is_evidence(fault: Fault | None, seen_ms: int, *, left_over: bool = False) -> bool:
    """Whether an error counts, given the last fault of its part: not what was left over, nor what is as old as the end
    of a fault that ended.
    """
    if left_over:
        return False
    return fault is None or not fault.ended or seen_ms > fault.since_ms


def threshold(fault: Fault | None, n: int) -> int:
    """How many errors it takes to act on a part: ``n``, and twice as many for each action that did not help."""
    failures = 0 if fault is None or fault.ended else min(fault.failures, MOST_PATIENT)
    return n << failures


def counts_from_ms(fault: Fault | None) -> int | None:
    """From when errors count (those later than this): since the last fault ended, or since something was done about
    this one or failed; None: any of the window.
    """
    if fault is None or fault.stage is Stage.DIAGNOSED or fault.stage is Stage.ACTING:
        return None
    return fault.since_ms


def may_act(fault: Fault | None) -> bool:
    """Whether something can be done about a part whose threshold was passed: not twice at a time, nor about what is out
    of use. A rank stays in use for what comes to lie there later: new syndromes are acted upon again.
    """
    if fault is None or fault.ended or fault.stage in {Stage.DIAGNOSED, Stage.UNTREATED}:
        return True
    return fault.stage is Stage.ISOLATED and fault.suspect is Suspect.RANK


def swapped(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """The parts, by name, that are others than before: the serial number at that place is another.

    A place that is empty, or whose firmware gives no number, tells nothing. SMBIOS 3.7, 7.18.5: the number is set by
    the manufacturer and normally not changed; firmware writes "Not Specified" and the like, to be left out beforehand.
    """
    return tuple(sorted(name for name, serial in now.items() if serial and before.get(name) not in {None, "", serial}))
