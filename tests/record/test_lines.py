"""Prefixes come off every line, whatever carried it, and mail damage is undone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.record.text.lines import RawLine, strip, unwrapped

HEAD = "CPU 0: Machine Check: 0 Bank 7: ee2000000040110a"


@pytest.mark.parametrize(
    ("line", "stamp"),
    [
        (HEAD, None),
        (f"[  870.948739] mce: [Hardware Error]: {HEAD}", "870.948739"),
        (f"[10163.739265] [   T9326] [Hardware Error]: {HEAD}", "10163.739265"),
        (f"[   T10] mce: [Hardware Error]: {HEAD}", None),
        (f"[Wed Apr 12 11:05:16 2023] mce: [Hardware Error]: {HEAD}", "Wed Apr 12 11:05:16 2023"),
        (f"[水 11月 22 23:43:05 2026] mce: [Hardware Error]: {HEAD}", "水 11月 22 23:43:05 2026"),
        (f"[  +0.000004] mce: [Hardware Error]: {HEAD}", None),
        (f"[<    0.000003>] mce: [Hardware Error]: {HEAD}", None),
        (f"[Nov22 23:43] mce: [Hardware Error]: {HEAD}", "Nov22 23:43"),
        (f"[Nov 2 23:43] mce: [Hardware Error]: {HEAD}", "Nov 2 23:43"),
        (f"[11月22 23:43] mce: [Hardware Error]: {HEAD}", "11月22 23:43"),
        (f"[  870.948739 <    0.000004>] mce: [Hardware Error]: {HEAD}", "870.948739"),
        (f"[Wed Apr 12 11:05:16 2023 <    0.000004>] [Hardware Error]: {HEAD}", "Wed Apr 12 11:05:16 2023"),
        (f"[ma mrt 21 17:09:43 2022] core: [Hardware Error]: {HEAD}", "ma mrt 21 17:09:43 2022"),
        (f"Dec 09 14:40:48 Tyana kernel: mce: [Hardware Error]: {HEAD}", "Dec 09 14:40:48"),
        (f"janv. 10 00:29:08 nobara-pc kernel: mce: [Hardware Error]: {HEAD}", "janv. 10 00:29:08"),
        (f"08:22:19 kernel: mce: [Hardware Error]: {HEAD}", "08:22:19"),
        (f"2016-12-03 19:08:52    [14874911.999243] [Hardware Error]: {HEAD}", "2016-12-03 19:08:52"),
        (
            f"2024-02-29T23:56:47.273148+01:00 host kernel: mce: [Hardware Error]: {HEAD}",
            "2024-02-29T23:56:47.273148+01:00",
        ),
        (f"Jan 11 14:29:53 yonah kernel: [    0.161089] mce: [Hardware Error]: {HEAD}", "Jan 11 14:29:53"),
        (f"kernel:[  316.593422] [Hardware Error]: {HEAD}", "316.593422"),
        (f" kernel:[Hardware Error]: {HEAD}", None),
        (f"> > [  870.948739] mce: [Hardware Error]: {HEAD}", "870.948739"),
        (f">> {HEAD}", None),
        (f"<0>[    1.5] {HEAD}", "1.5"),
        (f"(XEN) [2023-01-01 00:00:00.123] {HEAD}", "2023-01-01 00:00:00.123"),
        (f"{HEAD}\r", None),
        (f"kern  :emerg : [  870.948739] mce: [Hardware Error]: {HEAD}", "870.948739"),
        (f"kern  :crit  : [Wed Apr 12 11:05:16 2023] mce: [Hardware Error]: {HEAD}", "Wed Apr 12 11:05:16 2023"),
        (f"0,4711,870948739,-;mce: [Hardware Error]: {HEAD}", "870.948739"),
        (f"0,4711,870948739,-,caller=C3;mce: [Hardware Error]: {HEAD}", "870.948739"),
        (f"Wed 2023-04-12 11:05:16 CEST host kernel: mce: [Hardware Error]: {HEAD}", "Wed 2023-04-12 11:05:16 CEST"),
        (f"1681290316.123456 host kernel: mce: [Hardware Error]: {HEAD}", "1681290316.123456"),
        (f"[  870.948739 <    0.000004 >] host kernel: mce: [Hardware Error]: {HEAD}", "870.948739"),
        (
            f"<0>1 2023-04-12T11:05:16.003Z host kernel - - - mce: [Hardware Error]: {HEAD}",
            "2023-04-12T11:05:16.003Z",
        ),
        (f"Apr 12 11:05:16 host kernel[-]: mce: [Hardware Error]: {HEAD}", "Apr 12 11:05:16"),
        (f"/var/log/messages-20230412:Apr 12 11:05:16 host kernel: {HEAD}", "Apr 12 11:05:16"),
        (f"1234:[  870.948739] mce: [Hardware Error]: {HEAD}", "870.948739"),
        (f"kern.log:1234:{HEAD}", None),
        (f"\x1b[32m[  870.948739] \x1b[0m\x1b[33mmce: \x1b[0m\x1b[1m[Hardware Error]: {HEAD}\x1b[0m", "870.948739"),
    ],
)
def test_every_known_carrier_is_taken_off(line: str, stamp: str | None) -> None:
    stripped = strip(RawLine(1, line.encode()))
    assert (stripped.body, stripped.stamp) == (HEAD, stamp)


def test_a_stamp_with_a_zone_fixes_the_time() -> None:
    assert strip(RawLine(1, b"2024-03-01T00:00:00+01:00 host kernel: x")).time == 1709247600.0
    assert strip(RawLine(1, b"Mar 01 00:00:00 host kernel: x")).time is None
    assert strip(RawLine(1, b"Fri 2024-03-01 00:00:00 UTC host kernel: x")).time == 1709251200.0
    assert strip(RawLine(1, b"Fri 2024-03-01 00:00:00 CET host kernel: x")).time is None
    assert strip(RawLine(1, b"1709251200.500000 host kernel: x")).time == 1709251200.5


def test_the_listing_number_and_date_of_ras_mc_ctl_are_no_prefix() -> None:
    line = b"70 2026-08-24 00:04:24 +0200 error: Corrected error"
    assert strip(RawLine(1, line)).body == line.decode()


@given(st.binary(max_size=400))
def test_no_line_is_too_strange_to_strip(raw: bytes) -> None:
    assert strip(RawLine(1, raw)).raw == raw


def bodies(text: str) -> list[str]:
    lines = [RawLine(number, line) for number, line in enumerate(text.encode().split(b"\n"), 1)]
    return [line.body for line in unwrapped(lines)]


def test_a_status_cut_by_a_narrow_screen_is_whole_again() -> None:
    text = "[ 0.1] mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: ee20000000\n40110a"
    assert bodies(text) == ["CPU 0: Machine Check: 0 Bank 7: ee2000000040110a"]


def test_digits_that_do_not_complete_a_status_are_not_joined_to_it() -> None:
    assert len(bodies("CPU 0: Machine Check: 0 Bank 7: ee20000000\n40110ab")) == 2


def test_fields_wrapped_to_the_next_line_come_back() -> None:
    text = "[ 0.1] mce: [Hardware Error]: PROCESSOR 0:906e9 TIME 1567293075 SOCKET 0\n APIC 0 microcode b4"
    assert bodies(text) == ["PROCESSOR 0:906e9 TIME 1567293075 SOCKET 0 APIC 0 microcode b4"]


def test_quoted_printable_is_undone_only_where_it_shows() -> None:
    assert bodies("status=3D0x8c00 addr=\n=3D0x10") == ["status=0x8c00 addr=0x10"]
    assert bodies("status=3d0x8c") == ["status=3d0x8c"]


def test_a_joined_line_keeps_the_bytes_of_both() -> None:
    lines = [RawLine(1, b"[ 0.1] mce: CPU 0: Machine Check: 0 Bank 7: ee20000000"), RawLine(2, b"40110a")]
    assert [line.raw for line in unwrapped(lines)] == [lines[0].raw + b"\n" + lines[1].raw]
