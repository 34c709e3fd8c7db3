"""The clock of a real host goes on over boots and never back."""

from __future__ import annotations

from pathlib import Path

from ringfence.hypervisor.boot import Least, this_boot


def named(path: Path, name: str) -> Path:
    path.write_text(f"{name}\n")
    return path


def test_within_a_boot_number_and_clock_are_the_same_for_each_life(tmp_path: Path) -> None:
    boot_id = named(tmp_path / "id", "a")
    first = this_boot(tmp_path, boot_id=boot_id)
    assert this_boot(tmp_path, Least(boot=first.number), boot_id) == first


def test_the_next_boot_has_the_next_number_and_a_later_clock(tmp_path: Path) -> None:
    first = this_boot(tmp_path, boot_id=named(tmp_path / "id", "a"))
    reached_ms = first.now_ms() + 10**12  # the wall clock has stepped back since
    second = this_boot(tmp_path, Least(first.number, reached_ms), named(tmp_path / "id", "b"))
    assert second.number == first.number + 1
    assert second.now_ms() > reached_ms


def test_a_damaged_file_gives_no_number_away_twice(tmp_path: Path) -> None:
    boot_id = named(tmp_path / "id", "a")
    this_boot(tmp_path, boot_id=boot_id)
    (tmp_path / "boot.json").write_bytes(b"\xff{")
    assert this_boot(tmp_path, Least(boot=4), boot_id).number == 5
