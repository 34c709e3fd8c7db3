"""What becomes of a bank that holds an error when a second one comes: pure rules on MCi_STATUS.

Intel: SDM vol. 3B 17.3.2.2.1 (table of overwrite rules for enabled errors, with the green and yellow status) and 17.6.4
(table of overwrite rules for UC, CE and UCR errors). AMD: the priority of MCA_SYND.ErrorPriority (PPR 55898), with the
older error staying among equals: the model's reading of that field; the manual's own table could not be checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.arch.mci_status import AR, DEFERRED, EN, OVER, PCC, THRESHOLD_STATUS, UC, S

GREEN, YELLOW = 1, 2
"""Values of ``THRESHOLD_STATUS`` (SDM vol. 3B 17.4)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """MCi_STATUS after the second error; ``second``: whether the bank's other registers are now of that one."""

    status: int
    second: bool


Rule = Callable[[int, int], Outcome]
"""From the status that is held and the new one to what is held then."""


def intel(held: int, new: int, *, ser_p: bool, tes_p: bool) -> Outcome:
    """Intel's rules. Both are whole MCi_STATUS values with VAL; OVER is set in any case.

    That an enabled error replaces a disabled one is taken to hold among uncorrected errors of equal rank: else a
    corrected error could hide an uncorrected one. Where the table leaves the choice, the second stays.
    """
    old_rank, new_rank = _intel_rank(held, ser_p=ser_p), _intel_rank(new, ser_p=ser_p)
    if new_rank != old_rank:
        second = new_rank > old_rank
    elif new_rank == 0:
        second = not (tes_p and THRESHOLD_STATUS.of(held) == YELLOW != THRESHOLD_STATUS.of(new))
    else:
        second = bool(EN.of(new) and not EN.of(held))
    status = (new if second else held) | OVER.mask
    if ser_p and old_rank == new_rank == 1:
        status |= (held | new) & (S.mask | AR.mask)  # both are sticky among recoverable errors
    return Outcome(status, second)


def _intel_rank(status: int, *, ser_p: bool) -> int:
    if not UC.of(status):
        return 0
    return 2 if ser_p and PCC.of(status) else 1


def amd(held: int, new: int) -> Outcome:
    """AMD's rules: fatal over uncorrected over deferred over corrected; among equals enabled over disabled."""
    old_rank, new_rank = amd_priority(held), amd_priority(new)
    second = new_rank > old_rank or (new_rank == old_rank and bool(EN.of(new)) and not EN.of(held))
    return Outcome((new if second else held) | OVER.mask, second)


def amd_priority(status: int) -> int:
    """As MCA_SYND.ErrorPriority: 2 corrected, 3 deferred, 4 uncorrected, 5 fatal (PPR 55898, MCA_SYND)."""
    if PCC.of(status):
        return 5
    if UC.of(status):
        return 4
    return 3 if DEFERRED.of(status) else 2
