"""What is held against which part, and how a person ends it: on a running service, from a journal with a past."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.diagnosis.fault_case import Ending
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.service import control_protocol as say
from ringfence.service.control_protocol import PartState
from ringfence.world.identities import OWN_CASES, CaseId, Frame
from ringfence.world.situation import Suspect
from tests.service.processes import PATIENCE_S, RINGFENCE, Service, service

DIMM = "DIMM_A1"
CASE = CaseId(OWN_CASES + 1)
NOW_MS = time.time_ns() // 1_000_000 - 60_000


def corrected(
    at_ms: int, *, row: int, column: int, syndrome: int, label: str = DIMM, frame: int = 0x100
) -> ev.Received:
    """A corrected error of a module."""
    place: tuple[tuple[str, int | str], ...] = (
        ("label", label),
        ("rank", 0),
        ("bank", 1),
        ("row", row),
        ("column", column),
    )
    return ev.Received(
        at_ms=at_ms, token=None, case=None, urgent=False, severity="corrected", summary="corrected", corrected=True,
        record=Record(origin=Origin("-"), format=Format.PRINTK, raw=b"", registers=Registers()),
        rank=f"{label} rank 0", dimm=label, frame=Frame(frame), syndrome=syndrome, place=place, unit_kind="memory",
    )  # fmt: skip


def past() -> tuple[ev.Event, ...]:
    """Errors of one row of a module, a trend of it that nothing could be done about, and errors of another module."""
    started = ev.Started(at_ms=0, life=1, version="0", hypervisor="model concept", boot="1", wall_ms=NOW_MS)
    errors = [corrected(10 + at, row=7, column=at, syndrome=at, frame=0x100 + at) for at in range(4)]
    accused = ev.Accused(
        suspect=Suspect.ROW, name=f"{DIMM} rank 0 bank 1 row 0x7", rule="row", grade="strong", errors=4, places=4,
        speaks_for=("one row at several columns",),
    )  # fmt: skip
    trend = ev.TrendSeen(
        at_ms=20, suspect=Suspect.DIMM, name=DIMM, count=4, distinct=4, window_ms=86_400_000, case=CASE,
        accused=(accused,),
    )  # fmt: skip
    entry = ev.OutcomeEntry(None, "not_operated", "II.1", "nothing can be done ahead")
    other = corrected(30, row=1, column=1, syndrome=9, label="DIMM_B1", frame=0x900)
    return (started, *errors, trend, ev.Closed(at_ms=21, case=CASE, outcome=(entry,)), other)


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as made:
        made.state.mkdir()
        with Journal(made.state / "journal.sqlite", fsync=False) as journal:
            journal.append(*past())
        made.start()
        yield made


def parts(of: Service, *, everything: bool = True) -> dict[str, say.PartLine]:
    reply = of.ask(say.Parts(all=everything))
    assert isinstance(reply, say.PartList)
    return {each.part: each for each in reply.parts}


def ringfence(of: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RINGFENCE_SOCKET": str(of.socket), "RINGFENCE_STATE_DIR": str(of.state)}
    return subprocess.run(
        [str(RINGFENCE), *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=env
    )


def test_each_part_says_where_it_stands_and_what_that_rests_on(running: Service) -> None:
    found = parts(running)
    module = found[DIMM]
    assert (module.state, module.stage, module.errors, module.distinct) == (PartState.FAULTY, "untreated", 4, 4)
    assert module.cases == (CASE,)
    row = found[f"{DIMM} rank 0 bank 1 row 0x7"]
    assert (row.suspect, row.state, row.grade) == ("row", PartState.SUSPECTED, "strong")
    assert "one row at several columns" in row.speaks_for
    rank = found[f"{DIMM} rank 0"]
    assert rank.engine is not None
    assert (rank.engine.level, rank.engine.limit, rank.engine.distinct) == (4, 2, True)
    assert "msg01049" in rank.engine.source
    page = found["page 0x900"]
    assert page.state is PartState.WATCHED
    assert page.engine is not None
    assert (page.engine.level, page.engine.limit) == (1, 10)
    assert page.first_wall_ms == NOW_MS + 30


def test_what_is_only_watched_is_shown_if_it_is_asked_for(running: Service) -> None:
    assert "page 0x900" not in parts(running, everything=False)
    done = ringfence(running, "parts")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{DIMM}: faulty, strong suspect\n    4 errors, 4 different syndromes")
    assert f"replace it, then: ringfence repaired '{DIMM}' --replaced" in done.stdout
    assert "are only watched" in done.stdout.splitlines()[-1]


def test_an_old_case_names_what_it_acted_on(running: Service) -> None:
    assert f"acts ahead on {DIMM} (strong suspect): untreated" in ringfence(running, "cases", "--all").stdout


def test_names_are_completed_from_the_running_service(running: Service) -> None:
    env = {
        **os.environ, "_RINGFENCE_COMPLETE": "bash_complete", "COMP_WORDS": "ringfence acquit DIMM", "COMP_CWORD": "2",
        "RINGFENCE_SOCKET": str(running.socket),
    }  # fmt: skip
    done = subprocess.run([str(RINGFENCE)], capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=env)
    assert f"plain,{DIMM}" in done.stdout.splitlines()
    env["RINGFENCE_SOCKET"] = "/no/such/socket"
    done = subprocess.run([str(RINGFENCE)], capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=env)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)


def test_a_name_that_is_none_is_refused_with_what_may_be_meant(running: Service) -> None:
    done = ringfence(running, "acquit", "DIMM_A11", "--because", "x")
    assert done.returncode == 1
    assert f"Did you mean {DIMM}" in done.stderr
    assert ringfence(running, "acquit", DIMM).returncode == 2
    page = ringfence(running, "repaired", "page 0x900", "--replaced")
    assert page.returncode == 1
    assert "page 0x900 is no part that can be replaced" in page.stderr
    serial = ringfence(running, "repaired", DIMM, "--serial", "Unknown")
    assert serial.returncode == 1
    assert "is no serial number" in serial.stderr


def test_a_part_that_was_replaced_begins_anew_and_nothing_of_before_counts_for_it_or_what_lies_in_it() -> None:
    with service() as made:
        made.state.mkdir()
        with Journal(made.state / "journal.sqlite", fsync=False) as journal:
            journal.append(*past())
        made.start()
        done = ringfence(made, "repaired", DIMM, "--serial", "20c0d1", "--because", "new one")
        assert done.returncode == 0
        assert done.stdout.startswith(f"{DIMM}: replaced; what was counted before does not count any more")
        found = parts(made)
        assert [name for name in found if DIMM in name] == [DIMM]
        module = found[DIMM]
        assert (module.state, module.stage, module.errors) == (PartState.CLEARED, "replaced", 0)
        assert (module.grade, module.speaks_for) == ("", ())
        assert module.serial == "20C0D1"
        assert module.who.startswith("root (uid 0" if os.geteuid() == 0 else "")
        assert "page 0x100" not in found
        assert found["DIMM_B1"].errors == 1
        told = ringfence(made, "explain", str(CASE)).stdout
        assert f"{DIMM}: replaced by {module.who}, serial number 20C0D1 is in its place" in " ".join(told.split())
        assert "new one" in told
        assert f"{DIMM} (strong suspect): replaced by" in ringfence(made, "cases", "--all").stdout
        made.end()
        cleared = [each for each in made.journal() if isinstance(each, ev.Cleared)]
    assert [(each.how, each.because, each.case) for each in cleared] == [(Ending.REPLACED, "new one", CASE)]


def test_who_acquits_says_why(tmp_path: Path) -> None:
    with service() as made:
        made.state.mkdir()
        with Journal(made.state / "journal.sqlite", fsync=False) as journal:
            journal.append(*past())
        made.start()
        assert ringfence(made, "acquit", f"{DIMM} rank 0 bank 1 row 0x7", "--because", "cosmic ray").returncode == 0
        found = parts(made)
        made.end()
    # The row was not at fault: its errors are not held against the module, either. That the module is, stays.
    assert found[DIMM].errors == 0
    assert found[DIMM].state is PartState.FAULTY
    assert found[f"{DIMM} rank 0 bank 1 row 0x7"].state is PartState.CLEARED
