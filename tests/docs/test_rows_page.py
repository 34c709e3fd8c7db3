"""The page of what was shown where is made of tests that exist and say so themselves."""

from __future__ import annotations

from lab.rows import HOSTS, IMPOSSIBLE, declared, named, shown
from ringfence.decision.rows import Row

DECLARED = {(host, name): rows for host, name, rows in declared()}


def test_a_test_names_its_rows_before_the_first_colon() -> None:
    assert named("I.2a: a corrected error; not I.2c-dom0: Xen takes that away.") == (Row.COUNT,)
    assert named("II.1, II.2: ahead.") == (Row.AHEAD, Row.ON_DOMAIN)
    assert named("I.2c-many, and B.6: a sum.") == (Row.MANY, Row.FEASIBILITY)
    assert named("No row: the host is known.") == ()
    assert named("I.2a without a colon") == ()


def test_what_is_said_to_be_shown_is_a_test_that_says_so() -> None:
    for host, rows in shown().items():
        assert host in HOSTS.values()
        for row, names in rows.items():
            for name in names:
                assert row in DECLARED[host, name], f"{name} does not begin with {row}"


def test_no_row_is_shown_and_said_to_be_impossible() -> None:
    for (host, name), rows in DECLARED.items():
        assert not set(rows) & set(IMPOSSIBLE[host]), name
