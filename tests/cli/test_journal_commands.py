"""``ringfence journal``, ``export`` and ``backup``, on journals that are there, in use, or damaged."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from ringfence.cli.main import main
from ringfence.errors import JournalDamagedError
from ringfence.journal import events as ev
from ringfence.journal.backup import backup
from ringfence.journal.recall import recall
from ringfence.journal.store import Journal, Reader
from tests.journal.histories import history, written

NOON_MS = round(datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp() * 1000)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def started(life: int, wall_ms: int | None) -> ev.Event:
    return ev.Started(at_ms=100, life=life, version="1", hypervisor="model", boot=str(life), wall_ms=wall_ms)


def lost(at_ms: int) -> ev.Event:
    return ev.Lost(at_ms=at_ms, count=1, urgent=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def small(path: Path) -> Path:
    """Two lives: one without a wall clock, one that begins at noon."""
    written(path, [started(1, None), lost(200), started(2, NOON_MS), lost(1_100), lost(61_100)]).close()
    return path


@pytest.fixture
def busy(path: Path) -> Iterator[Path]:
    """A journal that somebody goes on writing as fast as he can."""
    over = threading.Event()

    def write() -> None:
        with Journal(path, fsync=False, reserve_bytes=0) as journal:
            journal.append(*history(1))
            while not over.is_set():
                journal.append(lost(journal.last), lost(journal.last + 1))
                begun.set()

    begun = threading.Event()
    writing = threading.Thread(target=write)
    writing.start()
    begun.wait(10)
    yield path
    over.set()
    writing.join()


def hurt(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER no_update")
        connection.execute("UPDATE event SET text = '{}' WHERE number = 2")
        connection.commit()


# --- export ---------------------------------------------------------------------------------------------------------


def test_every_event_is_a_line_with_its_number_its_time_and_itself(small: Path) -> None:
    done = run("export", "--journal", small)
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["number"], each["time"]) for each in lines] == [
        (1, None),
        (2, None),
        (3, "2026-05-01T12:00:00.000Z"),
        (4, "2026-05-01T12:00:01.000Z"),
        (5, "2026-05-01T12:01:01.000Z"),
    ]
    assert lines[3]["event"] == {"kind": "Lost", "at_ms": 1100, "count": 1, "urgent": False}
    with Reader(small) as reader:
        assert [json.dumps(each["event"], separators=(",", ":")) for each in lines] == [
            text for _, text in reader.texts()
        ]


def test_the_lines_are_as_the_schema_in_the_documents_says(path: Path) -> None:
    written(path, history(1)).close()
    schema = json.loads((Path(__file__).parents[2] / "docs/export-schema.json").read_text())
    validator = Draft202012Validator(schema)
    lines = [json.loads(line) for line in run("export", "--journal", path).stdout.splitlines()]
    assert len(lines) == len(history(1))
    for each in lines:
        validator.validate(each)
    assert not validator.is_valid({**lines[0], "number": 0})
    assert not validator.is_valid({**lines[0], "event": {"kind": "Started"}})


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (("--after", "3"), [4, 5]),
        (("--kind", "Started"), [1, 3]),
        (("--kind", "Started", "--kind", "Lost", "--after", "2"), [3, 4, 5]),
        (("--since", "2026-05-01T14:01+02:00"), [5]),
        (("--since", "2026-05-01"), [3, 4, 5]),
        (("--since", "2026-05-01", "--kind", "Lost"), [4, 5]),
        (("--since", "2027-01-01"), []),
        (("--since", "90000d"), [3, 4, 5]),
    ],
)
def test_what_is_exported_can_be_chosen(small: Path, arguments: tuple[str, ...], numbers: list[int]) -> None:
    done = run("export", "--journal", small, *arguments)
    assert [json.loads(line)["number"] for line in done.stdout.splitlines()] == numbers


def test_a_wrong_choice_is_said_with_what_is_allowed(small: Path) -> None:
    done = run("export", "--journal", small, "--kind", "Frozen")
    assert done.exit_code == 2
    assert "no event is called Frozen; there are: Acknowledged, " in done.stderr
    assert "12h, 7d ago" in run("export", "--journal", small, "--since", "tomorrow").stderr


def test_what_stands_before_the_damage_is_exported_and_the_damage_is_said(small: Path) -> None:
    hurt(small)
    done = run("export", "--journal", small, "--kind", "Started")
    assert [json.loads(line)["number"] for line in done.stdout.splitlines()] == [1, 3]
    done = run("export", "--journal", small)
    assert [json.loads(line)["number"] for line in done.stdout.splitlines()] == [1]
    assert done.exit_code == 3
    assert "event 2 is not what was written" in done.stderr


def test_csv_has_a_line_an_event_and_the_whole_event_in_its_last_column(small: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("export", "--journal", small, "--csv").stdout)))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["kind"] for row in rows] == ["Started", "Lost", "Started", "Lost", "Lost"]
    assert (rows[0]["time"], rows[3]["time"]) == ("", "2026-05-01T12:00:01.000Z")
    lines = [json.loads(line) for line in run("export", "--journal", small).stdout.splitlines()]
    assert [json.loads(row["event"]) for row in rows] == [line["event"] for line in lines]


def test_what_is_found_out_about_a_journal_comes_as_json_too(small: Path, tmp_path: Path) -> None:
    def told(*arguments: object) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(run(*map(str, arguments), "--json").stdout)
        return answer

    assert told("journal", "check", "--journal", small) == {"journal": str(small), "sound": True, "events": 5}
    info = told("journal", "info", "--journal", small)
    assert (info["base"], info["last"], info["starts"], info["snapshots"]) == (0, 5, 2, [])
    copy = tmp_path / "copy.sqlite"
    assert told("backup", copy, "--journal", small) == {"file": str(copy), "events": 5, "bytes": copy.stat().st_size}
    hurt(small)
    damaged = told("journal", "check", "--journal", small)
    assert (damaged["sound"], "event 2 is not what was written" in damaged["problem"]) == (False, True)
    saved = told("journal", "salvage", tmp_path / "new.sqlite", "--journal", small)
    assert (saved["events"], saved["lost"], saved["lost_from"]) == (4, 1, 2)


# --- backup ---------------------------------------------------------------------------------------------------------


def test_a_backup_of_a_journal_that_is_being_written_is_of_one_moment_and_whole(busy: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    told: list[tuple[int, int]] = []
    events = backup(busy, copy, lambda done, all_: told.append((done, all_)))
    assert told[-1][0] == told[-1][1] > 0
    assert sorted(each.name for each in tmp_path.iterdir() if "copy" in each.name) == ["copy.sqlite"]
    assert copy.stat().st_mode & 0o777 == 0o600
    with Reader(copy) as reader, Reader(busy) as original:
        assert reader.check() == events > len(history(1))
        assert dict(reader.texts()).items() <= dict(original.texts()).items()
        state = recall(reader).state
    with Journal(copy, fsync=False, reserve_bytes=0) as restored:
        assert recall(restored).state == state
        restored.append(lost(1))


def test_the_command_says_what_it_copied_and_replaces_nothing_unasked(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    done = run("backup", copy, "--journal", small)
    assert (done.exit_code, done.stdout) == (0, f"{copy}: 5 events, checked, {copy.stat().st_size / 1e6:.1f} MB\n")
    copy.write_text("mine")
    assert run("backup", copy, "--journal", small).exit_code == 2
    assert copy.read_text() == "mine"
    assert run("backup", copy, "--journal", small, "--force").exit_code == 0
    with Reader(copy) as reader:
        assert reader.check() == 5


def test_a_backup_that_cannot_be_made_leaves_nothing_behind(small: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert run("backup", tmp_path / "none" / "copy", "--journal", small).exit_code == 2
    assert run("backup", tmp_path / "copy", "--journal", tmp_path / "none").exit_code == 2
    hurt(small)
    done = run("backup", tmp_path / "copy", "--journal", small)
    assert done.exit_code == 1
    assert "event 2 is not what was written" in done.stderr
    assert [each for each in sorted(tmp_path.iterdir()) if each not in before and "copy" in each.name] == []
    with pytest.raises(JournalDamagedError):
        backup(small, tmp_path / "copy")


# --- journal --------------------------------------------------------------------------------------------------------


def test_check_says_whether_a_journal_is_sound(small: Path) -> None:
    done = run("journal", "check", "--journal", small)
    assert (done.exit_code, done.stdout) == (0, f"{small}: sound, 5 events\n")
    hurt(small)
    done = run("journal", "check", "--journal", small)
    assert done.exit_code == 1
    assert "event 2 is not what was written" in done.stderr
    assert "ringfence journal salvage" in done.stderr
    assert run("journal", "check", "--journal", small.with_name("none")).exit_code == 2


def test_info_tells_what_is_there_before_and_after_a_compaction(path: Path) -> None:
    events = history(1)
    written(path, [started(0, NOON_MS), *events]).close()
    done = run("journal", "info", "--journal", path)
    assert f"events     1 to {len(events) + 1}\n" in done.stdout
    assert "since      2026-05-01 11:59 UTC" in done.stdout
    done = run("journal", "compact", "--journal", path, "--upto", 100, "--archive", "--shrink")
    assert done.exit_code == 0
    assert "dropped" in done.stdout
    assert len(list(path.with_name("journal-archive").iterdir())) == 1
    done = run("journal", "info", "--journal", path)
    assert f"events     101 to {len(events) + 2}; of those up to 100, " in done.stdout
    assert "snapshot   after event 100, " in done.stdout
    assert run("journal", "check", "--journal", path).exit_code == 0
    done = run("journal", "compact", "--journal", path, "--keep-days", 36_000)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "nothing is that old")


def test_a_journal_in_use_is_not_compacted(busy: Path) -> None:
    done = run("journal", "compact", "--journal", busy, "--upto", 9)
    assert done.exit_code == 2
    assert "another process writes this journal" in done.stderr


def test_compact_wants_to_be_told_what_shall_go(small: Path) -> None:
    assert "say what shall go" in run("journal", "compact", "--journal", small).stderr
    assert "no such journal" in run("journal", "compact", "--journal", small.with_name("x"), "--upto", 1).stderr
    assert not small.with_name("x").exists()


def test_salvage_makes_a_new_journal_and_says_what_is_lost(small: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    hurt(small)
    before = small.read_bytes()
    done = run("journal", "salvage", new, "--journal", small)
    assert (done.exit_code, done.stdout) == (1, f"{new}: 4 events\n")
    assert done.stderr == "1 events are lost, between 2 and 2\n"
    assert small.read_bytes() == before
    assert run("journal", "check", "--journal", new).exit_code == 0
    assert run("journal", "salvage", new, "--journal", small).exit_code == 2
    done = run("journal", "salvage", tmp_path / "again.sqlite", "--journal", new)
    assert done.exit_code == 0
