"""An outlet's place outlives restarts and kills, and a number of another journal is never taken for one of this."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ringfence.errors import SourceError
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service.outlets.cursor import DIRECTORY, Cursor, identity_of, opened


def write(path: Path, *because: str) -> None:
    with Journal(path, reserve_bytes=0) as journal:
        journal.append(*(ev.Stopped(at_ms=1, because=each) for each in because))


def place(tmp_path: Path, begin: int = 0, name: str = "a") -> Cursor:
    return opened(tmp_path, name, tmp_path / "j", begin=begin)


def test_it_is_where_it_was_kept(tmp_path: Path) -> None:
    write(tmp_path / "j", "one", "two", "three")
    first = place(tmp_path, begin=1)
    assert first.place.number == 1
    first.at(2).keep(tmp_path / "j")
    first.at(3)  # not kept
    again = place(tmp_path, begin=0)
    assert (again.place.number, again.identity) == (2, first.identity)


def test_every_outlet_has_a_place_of_its_own_and_all_speak_by_one_name(tmp_path: Path) -> None:
    write(tmp_path / "j", "one", "two")
    place(tmp_path, name="a").at(2).keep(tmp_path / "j")
    other = place(tmp_path, name="b")
    assert other.place.number == 0
    assert other.identity == place(tmp_path, name="a").identity == identity_of(tmp_path)


@pytest.mark.parametrize("others", [("other", "words", "here"), ("one",), ()])
def test_another_journal_in_its_place_is_told_from_its_beginning_under_another_name(
    others: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path / "j", "one", "two")
    before = place(tmp_path).at(2).keep(tmp_path / "j")
    for path in tmp_path.glob("j*"):
        path.unlink()
    write(tmp_path / "j", *others)
    after = place(tmp_path)
    assert after.place.number == 0
    assert after.identity.host == before.identity.host
    assert after.identity.journal != before.identity.journal


def test_what_another_outlet_noticed_holds_for_all(tmp_path: Path) -> None:
    write(tmp_path / "j", "one", "two")
    for name in ("a", "b"):
        place(tmp_path, name=name).at(2).keep(tmp_path / "j")
    for path in tmp_path.glob("j*"):
        path.unlink()
    write(tmp_path / "j", "other", "words")
    found = place(tmp_path, name="a"), place(tmp_path, name="b")
    assert found[0].identity == found[1].identity
    assert [each.place.number for each in found] == [0, 0]


def test_a_journal_that_was_copied_is_the_same_journal(tmp_path: Path) -> None:
    write(tmp_path / "j", "one", "two")
    before = place(tmp_path).at(2).keep(tmp_path / "j")
    shutil.copy(tmp_path / "j", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "j")
    assert place(tmp_path) == before


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[1]", b'{"journal":"x"}', b'{"journal":1,"number":"x"}'])
def test_a_damaged_place_begins_anew(text: bytes, tmp_path: Path) -> None:
    write(tmp_path / "j", "one", "two")
    place(tmp_path).at(2).keep(tmp_path / "j")
    (tmp_path / DIRECTORY / "a.json").write_bytes(text)
    assert place(tmp_path, begin=1).place.number == 1


def test_a_kill_while_it_is_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "j", "one", "two")
    kept = place(tmp_path).at(1).keep(tmp_path / "j")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("write", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, killed)
            with pytest.raises(KeyboardInterrupt):
                kept.at(2).keep(tmp_path / "j")
        assert place(tmp_path) == kept


def test_the_files_are_for_the_service_alone(tmp_path: Path) -> None:
    write(tmp_path / "j", "one")
    place(tmp_path)
    directory = tmp_path / DIRECTORY
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in directory.iterdir()} == {0o600}


def test_a_directory_that_is_none_is_said_so(tmp_path: Path) -> None:
    write(tmp_path / "j", "one")
    (tmp_path / DIRECTORY).write_text("")
    with pytest.raises(SourceError, match="outlets"):
        place(tmp_path)
