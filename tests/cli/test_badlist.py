"""ringfence badlist, from the journal of a host on which pages and a CPU were taken out of use."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ringfence.cli.main import main
from ringfence.diagnosis.fault_case import Ending
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.world.identities import OWN_CASES, CaseId, CpuId, Frame, StepId
from ringfence.world.situation import Suspect
from ringfence.world.steps import OfflineCpu, OfflineFrame, Status

CASE = CaseId(OWN_CASES + 1)


def done(order: int, step: OfflineFrame | OfflineCpu) -> tuple[ev.Event, ...]:
    return (
        ev.Intended(at_ms=order, order=StepId(order), case=CASE, step=ev.on_wire(step), dimm="A1"),
        ev.Carried(at_ms=order, order=StepId(order), status=Status.DONE),
    )


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "j.sqlite"
    row = ev.Accused(
        suspect=Suspect.ROW, name="A1 bank 3 row 0x12", rule="row", grade="strong", errors=9, places=4,
        speaks_for=("one row at several columns", "9 errors in 4 places: 4 columns"),
    )  # fmt: skip
    with Journal(path, fsync=False) as written:
        written.append(
            ev.Started(at_ms=0, life=1, version="1", hypervisor="model", boot="1"),
            *done(1, OfflineFrame(Frame(0x12345))),
            *done(2, OfflineFrame(Frame(0x200), 0x200)),
            *done(3, OfflineCpu(CpuId(7))),
            ev.TrendSeen(
                at_ms=4, suspect=Suspect.DIMM, name="A1", count=10, distinct=1, window_ms=86_400_000, accused=(row,)
            ),
            ev.Started(at_ms=9, life=2, version="1", hypervisor="model", boot="2"),
        )
    return path


def run(journal: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["badlist", "--journal", str(journal), *options])


def test_of_a_damaged_journal_what_holds_is_printed_and_the_damage_is_said(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("DROP TRIGGER no_update")
        connection.execute("UPDATE event SET text = '{}' WHERE number = 4")
        connection.commit()
    result = run(journal, "--json")
    assert result.exit_code == 3
    assert "event 4 is not what was written" in result.stderr
    assert "event 4 is lost; what holds is shown" in result.stderr
    known = json.loads(result.stdout)
    assert known["pages"] == [{"first_frame": 0x12345, "pages": 1}]
    assert known["cpus"] == [7]


def test_what_was_judged_bad_before_the_reboot_is_printed_with_what_to_write_where(journal: Path) -> None:
    result = run(journal)
    assert result.exit_code == 0
    assert (
        result.stdout
        == r"""513 pages out of use:
  frame 0x200, 512 of them
  frame 0x12345
For Xen's command line (under Xen this one, not memmap):
  badpage=0x200-0x3ff,0x12345
For Linux's command line, in /etc/default/grub within double quotes:
  memmap=2048K\\\$0x200000,4K\\\$0x12345000
  After a boot, /proc/cmdline must show:
  memmap=2048K$0x200000,4K$0x12345000
CPUs out of use: 7
  No boot option leaves single CPUs out. Linux schedules nothing there with:
  isolcpus=7
Parts at fault:
  DIMM A1: untreated
    one row at several columns
    9 errors in 4 places: 4 columns
"""
    )


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--xen", "badpage=0x200-0x3ff,0x12345\n"),
        ("--linux", "memmap=2048K$0x200000,4K$0x12345000\n"),
        ("--grub", "memmap=2048K\\\\\\$0x200000,4K\\\\\\$0x12345000\n"),
    ],
)
def test_one_option_alone_can_be_pasted(journal: Path, option: str, text: str) -> None:
    assert run(journal, option).stdout == text


def test_as_json(journal: Path) -> None:
    told = json.loads(run(journal, "--json").stdout)
    assert told["pages"] == [{"first_frame": 0x200, "pages": 512}, {"first_frame": 0x12345, "pages": 1}]
    assert told["cpus"] == [7]
    assert told["options"]["xen"] == {"text": "badpage=0x200-0x3ff,0x12345", "left_off": 0}
    assert [part["name"] for part in told["parts"]] == ["A1"]


def test_a_dimm_that_was_replaced_takes_its_pages_off_the_list(journal: Path) -> None:
    with Journal(journal, fsync=False) as written:
        written.append(ev.Cleared(at_ms=10, suspect=Suspect.DIMM, name="A1", how=Ending.REPLACED, who="root"))
        written.append(ev.Cleared(at_ms=11, suspect=Suspect.CORE, name="CPU 7", how=Ending.ACQUITTED, who="root"))
    assert run(journal).stdout == "Nothing is known to be bad.\n"
    assert run(journal, "--xen").stdout == ""


def test_what_does_not_fit_is_counted_on_standard_error(journal: Path) -> None:
    with Journal(journal, fsync=False) as written:
        for number in range(20):
            written.append(*done(10 + number, OfflineFrame(Frame(0x1000000 + 2 * number))))
    result = run(journal, "--xen")
    assert result.stderr == "12 pages did not fit; Ringfence takes them out when it starts.\n"


def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert run(tmp_path / "none.sqlite").exit_code == 2
