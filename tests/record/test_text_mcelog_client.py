"""``mcelog --client``: counts, not errors."""

from __future__ import annotations

from ringfence.record.evidence import ClaimedSeverity, Format
from tests.record.texts import evidence, record, records, said

ACCOUNTING = """\
Memory errors
SOCKET 1 CHANNEL any DIMM any
corrected memory errors:
\t2654 total
\t100 in 24h
uncorrected memory errors:
\t0 total
\t0 in 24h

SOCKET 1 CHANNEL 3 DIMM 0
DMI_NAME "P2-DIMMD1"
corrected memory errors:
\t1651 total
\t10 in 24h
uncorrected memory errors:
\t2 total
\t1 in 24h
"""
"""The form and the first two counts of github.com/andikleen/mcelog issue 16."""


def test_a_total_becomes_one_report_that_stands_for_so_many_errors() -> None:
    found = records(ACCOUNTING)
    assert {one.format for one in found} == {Format.MCELOG_CLIENT}
    assert [(one.count, one.memory and one.memory.severity) for one in found] == [
        (2654, ClaimedSeverity.CORRECTED),
        (1651, ClaimedSeverity.CORRECTED),
        (2, ClaimedSeverity.RECOVERABLE),
    ]
    assert all("total since its start" in one.assumptions[-1] for one in found)


def test_the_number_of_the_last_period_is_only_a_claim() -> None:
    assert said(records(ACCOUNTING)[0]) == [
        "severity: corrected memory errors",
        "other: 2654 total",
        "other: 100 in 24h",
    ]


def test_any_means_that_the_place_is_not_known() -> None:
    anywhere, dimm, _ = (one.memory for one in records(ACCOUNTING))
    assert anywhere is not None
    assert dimm is not None
    assert (anywhere.location.socket, anywhere.location.channel, anywhere.location.slot) == (1, None, None)
    assert (dimm.location.socket, dimm.location.channel, dimm.location.slot) == (1, 3, 0)
    assert "channel and dimm not determined ('any')" in records(ACCOUNTING)[0].assumptions


def test_totals_of_zero_are_no_evidence() -> None:
    text = "SOCKET 0 CHANNEL 0 DIMM 0\ncorrected memory errors:\n\t0 total\nuncorrected memory errors:\n\t0 total\n"
    assert evidence(text) == []


def test_a_page_with_its_count_is_a_report_of_that_page() -> None:
    one = record('Per page corrected memory statistics:\n912c41000: total 3 seen "2 in 24h" online\n')
    assert one.memory is not None
    assert (one.count, one.memory.physical_address, one.memory.page_frame) == (3, 0x912C41000, 0x912C41)
