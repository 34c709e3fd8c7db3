"""Reports of one event are folded into it, and different events never are."""

from __future__ import annotations

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.diagnosis.events import WINDOW_REPORTS, Folder, Relation
from ringfence.record.evidence import Format, Origin, Record, Registers

CORRECTED = 0x8C00004000010090
UNCORRECTED = 0xBD80000000100134


def record(
    *, cpu: int = 0, apicid: int = 0, status: int = CORRECTED, addr: int | None = 0x1000, tsc: int = 0,
    time: float | None = 1000.0, socket: int = 0, count: int = 1,
) -> Record:  # fmt: skip
    return Record(
        origin=Origin("log", 1),
        format=Format.PRINTK,
        raw=b"",
        registers=Registers(status=status, addr=addr, tsc=tsc),
        cpu=cpu,
        apicid=apicid,
        bank=7,
        socket=socket,
        vendor=Vendor.INTEL,
        time=time,
        count=count,
    )


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        # The same print in dmesg and in syslog, both in one file.
        (record(tsc=5), record(tsc=5), Relation.LOGGED_TWICE),
        # Two hyperthreads poll one bank (corpus 073: APIC 11 and 10, TSC 20 ticks apart, all else equal).
        (
            record(cpu=19, apicid=0x11, tsc=100, time=None),
            record(cpu=7, apicid=0x10, tsc=120, time=None),
            Relation.SHARED_BANK,
        ),
        # A broadcast #MC: every CPU of the socket sees the package's bank.
        (record(cpu=0, status=UNCORRECTED), record(cpu=9, apicid=18, status=UNCORRECTED), Relation.SHARED_BANK),
        # An uncorrected error that nobody cleared, read again five minutes later (corpus 040).
        (record(status=UNCORRECTED), record(status=UNCORRECTED, time=1300.0), Relation.LATCHED),
        # A corrected error again from the same CPU: a stuck cell looks like that, so it counts.
        (record(), record(time=1300.0), Relation.NEW),
        (record(), record(), Relation.NEW),
        # Another CPU long after: not the same poll.
        (record(cpu=0), record(cpu=1, apicid=1, time=2000.0), Relation.NEW),
        # Two cores with a corrected error in private banks, no address: nothing says that it is one event.
        (record(cpu=0, addr=None), record(cpu=4, apicid=8, addr=None), Relation.NEW),
        # Other contents, other socket: never the same.
        (record(addr=0x1000), record(cpu=1, apicid=1, addr=0x2000), Relation.NEW),
        (record(socket=0), record(cpu=1, apicid=1, socket=1), Relation.NEW),
        # What the source aggregated is a sum of its own.
        (record(tsc=5, count=4), record(tsc=5, count=4), Relation.NEW),
    ],
)
def test_two_reports_are_related_by_what_the_bank_showed_who_read_it_and_when(
    first: Record, second: Record, relation: Relation
) -> None:
    folder = Folder()
    assert folder.place(first) == (0, Relation.NEW)
    assert folder.place(second)[1] is relation


def test_a_latched_bank_is_one_event_however_often_it_is_read() -> None:
    folder = Folder()
    placed = [folder.place(record(status=UNCORRECTED, time=300.0 * n)) for n in range(99)]
    assert {number for number, _ in placed} == {0}
    assert folder.events == 1


def test_the_window_bounds_what_is_remembered() -> None:
    folder = Folder()
    folder.place(record(status=UNCORRECTED))
    for n in range(WINDOW_REPORTS):
        folder.place(record(addr=0x10000 + n))
    assert folder.place(record(status=UNCORRECTED))[1] is Relation.NEW
