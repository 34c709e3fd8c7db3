"""A kernel log that pstore cut into several files is read as the one log that it was."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.record.binary.pstore import logs_of
from ringfence.record.evidence import Record
from ringfence.record.reader import read
from ringfence.record.sources import expand

LINES = (
    "[  100.0] mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 7: be00000000800400\n"
    "[  100.1] mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff81000000> {intel_idle+0x6b/0x120}\n"
    "[  100.2] mce: [Hardware Error]: TSC 4fb1bd1ab4 ADDR 3ff7dd1cb40 MISC 3fff\n"
    "[  100.3] mce: [Hardware Error]: PROCESSOR 0:306a9 TIME 1475069466 SOCKET 0 APIC 6 microcode 1b\n"
).splitlines(keepends=True)


def _write(folder: Path, *parts: str, first_id: int = 1, head: str = "Panic#1") -> None:
    """Parts as pstore_dump writes them: the newest lines are part 1, and it is written first."""
    for number, text in enumerate(reversed(parts), 1):
        (folder / f"dmesg-erst-{first_id + number - 1}").write_text(f"{head} Part{number}\n{text}")


def test_a_machine_check_that_the_kernel_cut_in_two_is_one_record(tmp_path: Path) -> None:
    _write(tmp_path, "".join(LINES[:2]), "".join(LINES[2:]))
    (source,) = expand((str(tmp_path),))
    assert source.name == f"{tmp_path}/dmesg-erst-2 to dmesg-erst-1 (2 parts)"
    (record,) = read(source)
    assert isinstance(record, Record)
    assert record.registers.status == 0xBE00000000800400
    assert record.registers.addr == 0x3FF7DD1CB40
    assert record.cpu == 3
    assert record.cpuid is not None


def test_two_dumps_in_one_directory_stay_two_logs(tmp_path: Path) -> None:
    _write(tmp_path, "a\n", "b\n", head="Oops#1")
    _write(tmp_path, "c\n", "d\n", first_id=3)
    _write(tmp_path, "e\n", first_id=5)
    names = [[part.name for part in source.parts] or [Path(source.name).name] for source in expand((str(tmp_path),))]
    assert names == [["dmesg-erst-2", "dmesg-erst-1"], ["dmesg-erst-4", "dmesg-erst-3"], ["dmesg-erst-5"]]


def test_the_same_files_given_one_by_one_and_among_others_are_put_together_too(tmp_path: Path) -> None:
    _write(tmp_path, "".join(LINES[:1]), "".join(LINES[1:]))
    other = tmp_path / "console.txt"
    other.write_text("nothing\n")
    given = (str(other), str(tmp_path / "dmesg-erst-1"), str(tmp_path / "dmesg-erst-2"))
    assert [len(source.parts) for source in expand(given)] == [0, 2]


def test_a_file_that_came_between_is_no_part(tmp_path: Path) -> None:
    # 10 is after 9 in number, though not in name; a missing part 2 leaves two logs, and nothing is put across the gap
    (tmp_path / "dmesg-erst-9").write_text("Panic#1 Part1\nnew\n")
    (tmp_path / "dmesg-erst-10").write_text("Panic#1 Part3\nold\n")
    assert [source.parts for source in expand((str(tmp_path),))] == [(), ()]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["Panic#1", "Panic#2", "Oops#1", "none"]), max_size=6), st.data())
def test_every_file_is_in_one_log_and_only_there(heads: list[str], data: st.DataObject) -> None:
    files = []
    for at, head in enumerate(heads):
        part = data.draw(st.integers(1, 3))
        files.append((Path(f"dmesg-erst-{at}"), f"{head} Part{part}\n".encode()))
    logs = logs_of(tuple(files))
    assert sorted(path for log in logs for path in log) == sorted(path for path, _ in files)
