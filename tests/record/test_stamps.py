"""A log's stamp is read in the words of the locale that wrote it, as far as they name one month only."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.record.text.stamps import ABBREVIATIONS, civil_time, is_foreign
from ringfence.views.text import when_text


@pytest.mark.parametrize(
    ("stamp", "civil"),
    [
        ("Wed Apr 12 11:05:16 2023", "2023-04-12T11:05:16"),
        ("Wed Apr  2 11:05:16 2023", "2023-04-02T11:05:16"),
        ("Mi Mär 12 11:05:16 2023", "2023-03-12T11:05:16"),
        ("mer. août 16 11:05:16 2023", "2023-08-16T11:05:16"),
        ("ma mrt 21 17:09:43 2022", "2022-03-21T17:09:43"),
        ("水 11月 22 23:43:05 2026", "2026-11-22T23:43:05"),
        ("三 11月 22 23:43:05 2026", "2026-11-22T23:43:05"),
        ("수 11월 22 23:43:05 2026", "2026-11-22T23:43:05"),
        ("T4 Thg 11 22 17:09:43 2022", "2022-11-22T17:09:43"),
        ("wt мая 10 17:09:43 2022", "2022-05-10T17:09:43"),
        ("dt. de gen. 12 11:05:16 2023", "2023-01-12T11:05:16"),
        ("2016-12-03 19:08:52", "2016-12-03T19:08:52"),
        ("2016-12-03T19:08:52.123456", "2016-12-03T19:08:52"),
    ],
)
def test_date_and_clock_are_read(stamp: str, civil: str) -> None:
    assert civil_time(stamp) == datetime.fromisoformat(civil)


@pytest.mark.parametrize(
    "stamp",
    [
        "wto lis 22 17:09:43 2022",  # Polish: November; Croatian would mean October
        "Xyz Abc 12 11:05:16 2023",
        "Apr 12 11:05:16",
        "janv. 10 00:29:08",
        "Wed Feb 30 11:05:16 2023",
        "水 13月 22 23:43:05 2026",
        "870.948739",
        "2024-02-29T23:56:47+01:00",
        "",
    ],
)
def test_what_fixes_no_date_gives_none(stamp: str) -> None:
    assert civil_time(stamp) is None


def test_every_language_has_twelve_months() -> None:
    assert {len(language.split("|")) for language in ABBREVIATIONS} == {12}


@pytest.mark.parametrize("language", ABBREVIATIONS)
def test_a_month_is_read_as_itself_or_not_at_all(language: str) -> None:
    read = [civil_time(f"Xx {word} 12 11:05:16 2023") for word in language.split("|")]
    assert all(found is None or found.month == month for month, found in enumerate(read, start=1))
    assert sum(found is None for found in read) <= 3


@given(st.text(max_size=60))
def test_no_stamp_is_too_strange(stamp: str) -> None:
    assert civil_time(stamp) is None or is_foreign(stamp) in {True, False}


def test_the_text_shows_the_stamp_and_what_it_was_read_as() -> None:
    assert when_text(None, "Wed Apr 12 11:05:16 2023") == ", stamp Wed Apr 12 11:05:16 2023"
    assert when_text(None, "mer. avril 12 11:05:16 2023") == (
        ", stamp mer. avril 12 11:05:16 2023 (2023-04-12 11:05:16, the log's own zone)"
    )
    assert when_text(None, "wto lis 22 17:09:43 2022") == (
        ", stamp wto lis 22 17:09:43 2022 (which month it names is not known)"
    )
    assert when_text(0.0, "mer. avril 12 11:05:16 2023") == ", 1970-01-01T00:00:00Z"
