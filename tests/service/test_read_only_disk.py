"""A service whose disk is read-only when it starts acts all the same, and writes it all down once it can."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ringfence.errors import JournalError, JournalUnwritableError, NotWrittenError
from ringfence.journal import events as ev
from ringfence.journal.store import Journal, Reader
from ringfence.journal.waiting import WaitingJournal, opened_or_waiting

OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")


@pytest.mark.parametrize("before", ["known", "new"])
def test_on_a_real_read_only_file_system_an_error_is_treated_and_written_once_it_is_writable(
    before: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if subprocess.run([*OWN_MOUNTS, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of one's own is permitted here (unshare -rm)")
    directory = tmp_path_factory.mktemp("ro")
    command = [*OWN_MOUNTS, sys.executable, "-m", "tests.service.on_read_only_disk", str(directory), before]
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert found.stdout == "it acted, and nothing was lost\n", found.stderr


class Disk:
    """A disk that takes nothing until it is mended."""

    def __init__(self) -> None:
        self.is_bad = True

    def opened(self, path: Path) -> Journal:
        if self.is_bad:
            raise JournalUnwritableError(path, "it takes nothing", advice="Mend it.")
        return Journal(path)


def written(path: Path, *texts: str) -> None:
    with Journal(path) as journal:
        journal.append(*(ev.Stopped(at_ms=1, because=text) for text in texts))


def test_what_waits_is_read_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    path, disk = tmp_path / "j", Disk()
    written(path, "one", "two")
    with opened_or_waiting(path, disk.opened) as journal:
        assert isinstance(journal, WaitingJournal)
        assert journal.last == 2
        assert "takes nothing" in journal.trouble
        for _ in range(2):
            with pytest.raises(NotWrittenError) as error:
                journal.append(ev.Stopped(at_ms=2, because="three"))
            assert [ev.from_text(text) for text in error.value.unwritten] == [ev.Stopped(at_ms=2, because="three")]
        with pytest.raises(JournalError):
            next(journal.put_snapshot(2, 0, 1, b"x"))
        disk.is_bad = False
        assert journal.append(ev.Stopped(at_ms=2, because="three")) == 3
        assert type(journal) is Journal
        assert journal.has_reserve
    with Reader(path) as reader:
        assert [event.because for _, event in reader.events() if isinstance(event, ev.Stopped)] == [
            "one", "two", "three",
        ]  # fmt: skip
        assert reader.check() == 3


def test_a_journal_whose_last_writer_was_killed_is_read_with_its_wal_and_gone_on_with(tmp_path: Path) -> None:
    path, disk = tmp_path / "j", Disk()
    code = f"""
import os
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
Journal({str(path)!r}).append(ev.Stopped(at_ms=1))
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert path.with_name("j-wal").exists()
    with opened_or_waiting(path, disk.opened) as journal:
        assert journal.last == 1
        for _ in range(2):
            with pytest.raises(NotWrittenError):
                journal.append(ev.Stopped(at_ms=2))
        assert [number for number, _ in journal.events()] == [1]
        disk.is_bad = False
        assert journal.append(ev.Stopped(at_ms=2)) == 2


def test_a_journal_that_another_wrote_to_meanwhile_is_not_gone_on_with(tmp_path: Path) -> None:
    path, disk = tmp_path / "j", Disk()
    written(path, "one")
    with opened_or_waiting(path, disk.opened) as journal:
        written(path, "another's")
        disk.is_bad = False
        with pytest.raises(JournalError, match="it has 2 events, and had 1"):
            journal.append(ev.Stopped(at_ms=2))


def test_where_there_is_no_journal_yet_it_is_empty_and_made_once_it_can_be(tmp_path: Path) -> None:
    path, disk = tmp_path / "j", Disk()
    with opened_or_waiting(path, disk.opened) as journal:
        assert journal.last == 0
        assert not list(journal.events())
        disk.is_bad = False
        assert journal.append(ev.Stopped(at_ms=2)) == 1
    with Reader(path) as reader:
        assert reader.check() == 1


def test_a_directory_that_is_not_there_is_a_mistake_and_no_disk_to_wait_for(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as error:
        opened_or_waiting(tmp_path / "nowhere" / "j", Journal)
    assert not isinstance(error.value, JournalUnwritableError)
    cause = error.value.__cause__
    assert isinstance(cause, OSError) and cause.errno == errno.ENOENT
