"""What becomes of a bank that holds an error when another comes: the manuals' tables, pair by pair."""

from __future__ import annotations

from itertools import product

import pytest

from ringfence.arch.mci_status import AR, DEFERRED, EN, OVER, PCC, THRESHOLD_STATUS, UC, VAL, S
from ringfence.hypervisor.model import overwrite
from ringfence.hypervisor.model.overwrite import GREEN, YELLOW

_BASE = VAL.mask | EN.mask
CE = _BASE
UCNA = _BASE | UC.mask
SRAO = UCNA | S.mask
SRAR = SRAO | AR.mask
FATAL = UCNA | PCC.mask
FIRST_CODE, SECOND_CODE = 1, 2

# SDM vol. 3B 17.6.4, "Overwrite Rules for UC, CE, and UCR Errors": first, second -> which is in the bank, S, AR.
# S and AR are None where the table calls them undefined; the last three pairs are in 17.3.2.2.1.
UCR_TABLE: dict[tuple[int, int], tuple[str, int | None, int | None]] = {
    (CE, UCNA): ("second", 0, 0),
    (CE, SRAO): ("second", 1, 0),
    (CE, SRAR): ("second", 1, 1),
    (UCNA, CE): ("first", 0, 0),
    (SRAO, CE): ("first", 1, 0),
    (SRAR, CE): ("first", 1, 1),
    (UCNA, UCNA): ("first", 0, 0),
    (UCNA, SRAO): ("first", 1, 0),
    (UCNA, SRAR): ("first", 1, 1),
    (SRAO, UCNA): ("first", 1, 0),
    (SRAO, SRAO): ("first", 1, 0),
    (SRAO, SRAR): ("first", 1, 1),
    (SRAR, UCNA): ("first", 1, 1),
    (SRAR, SRAO): ("first", 1, 1),
    (SRAR, SRAR): ("first", 1, 1),
    (UCNA, FATAL): ("second", None, None),
    (SRAO, FATAL): ("second", None, None),
    (SRAR, FATAL): ("second", None, None),
    (FATAL, UCNA): ("first", None, None),
    (FATAL, SRAO): ("first", None, None),
    (FATAL, SRAR): ("first", None, None),
    (CE, CE): ("second", 0, 0),
    (CE, FATAL): ("second", None, None),
    (FATAL, CE): ("first", None, None),
    (FATAL, FATAL): ("first", None, None),
}


def _which(outcome: overwrite.Outcome) -> str:
    assert outcome.status & 3 == (SECOND_CODE if outcome.second else FIRST_CODE)
    return "second" if outcome.second else "first"


def test_the_table_names_every_pair_of_classes() -> None:
    assert set(UCR_TABLE) == set(product((CE, UCNA, SRAO, SRAR, FATAL), repeat=2))


@pytest.mark.parametrize(("pair", "expected"), list(UCR_TABLE.items()))
def test_intel_overwrites_as_the_table_for_recoverable_errors_says(
    pair: tuple[int, int], expected: tuple[str, int | None, int | None]
) -> None:
    held, new = pair
    outcome = overwrite.intel(held | FIRST_CODE, new | SECOND_CODE, ser_p=True, tes_p=True)
    which, s, ar = expected
    assert _which(outcome) == which
    assert OVER.of(outcome.status) == 1
    assert UC.of(outcome.status) == max(UC.of(held), UC.of(new))
    assert PCC.of(outcome.status) == max(PCC.of(held), PCC.of(new))
    if s is not None:
        assert (S.of(outcome.status), AR.of(outcome.status)) == (s, ar)


@pytest.mark.parametrize(
    ("first", "second", "colour", "which"),
    [
        # SDM vol. 3B 17.3.2.2.1, "Overwrite Rules for Enabled Errors"
        (0, 0, 0, "second"),
        (0, GREEN, GREEN, "second"),
        (GREEN, 0, 0, "second"),
        (GREEN, GREEN, GREEN, "second"),
        (0, YELLOW, YELLOW, "second"),
        (GREEN, YELLOW, YELLOW, "second"),
        (YELLOW, 0, YELLOW, "first"),
        (YELLOW, GREEN, YELLOW, "first"),
        (YELLOW, YELLOW, YELLOW, "second"),
    ],
)
def test_a_yellow_status_is_not_overwritten_by_a_green_one(first: int, second: int, colour: int, which: str) -> None:
    held, new = CE | THRESHOLD_STATUS.put(first) | FIRST_CODE, CE | THRESHOLD_STATUS.put(second) | SECOND_CODE
    outcome = overwrite.intel(held, new, ser_p=True, tes_p=True)
    assert (_which(outcome), THRESHOLD_STATUS.of(outcome.status)) == (which, colour)


@pytest.mark.parametrize(("held", "new"), list(product((UCNA, FATAL), repeat=2)))
def test_without_ser_p_no_uncorrected_error_overwrites_another(held: int, new: int) -> None:
    assert _which(overwrite.intel(held | FIRST_CODE, new | SECOND_CODE, ser_p=False, tes_p=False)) == "first"


@pytest.mark.parametrize("status", [UCNA, SRAO, SRAR, FATAL])
def test_an_enabled_error_overwrites_a_disabled_one_of_its_rank(status: int) -> None:
    disabled = status & ~EN.mask
    enabled_second = overwrite.intel(disabled | FIRST_CODE, status | SECOND_CODE, ser_p=True, tes_p=True)
    disabled_second = overwrite.intel(status | FIRST_CODE, disabled | SECOND_CODE, ser_p=True, tes_p=True)
    assert (_which(enabled_second), _which(disabled_second)) == ("second", "first")


AMD_CLASSES = {"corrected": CE, "deferred": _BASE | DEFERRED.mask, "uncorrected": UCNA, "fatal": FATAL}


@pytest.mark.parametrize(("held", "new"), list(product(AMD_CLASSES, repeat=2)))
def test_amd_overwrites_by_priority_alone_and_keeps_the_older_of_equals(held: str, new: str) -> None:
    order = list(AMD_CLASSES)
    outcome = overwrite.amd(AMD_CLASSES[held] | FIRST_CODE, AMD_CLASSES[new] | SECOND_CODE)
    assert _which(outcome) == ("second" if order.index(new) > order.index(held) else "first")
    assert OVER.of(outcome.status) == 1
