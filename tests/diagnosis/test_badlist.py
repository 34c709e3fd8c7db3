"""What was judged bad, as boot options and as steps."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.diagnosis.badlist import (
    LINUX_MEMMAPS,
    XEN_BADPAGE_CHARS,
    BadList,
    BootOption,
    Quoting,
    linux_isolcpus,
    linux_memmap,
    runs,
    steps_at_start,
    xen_badpage,
)
from ringfence.world.identities import CpuId, Frame
from ringfence.world.steps import OfflineCpu, OfflineFrame

frames = st.integers(0, 1 << 36).map(Frame)
lists = st.lists(st.tuples(frames, st.integers(1, 600)), max_size=40).map(lambda pages: BadList(runs(pages)))
near = st.lists(st.tuples(st.integers(0, 40).map(Frame), st.integers(1, 5)), max_size=12)


def bad(*pages: tuple[int, int]) -> BadList:
    return BadList(runs((Frame(first), number) for first, number in pages))


def test_nothing_bad_is_no_option() -> None:
    assert xen_badpage(BadList()) == linux_memmap(BadList()) == linux_isolcpus(BadList()) == BootOption("")
    assert steps_at_start(BadList()) == ()


def test_xen_is_told_frames_and_ranges_with_their_last_frame() -> None:
    """xen-command-line: byte 0x12345678 is bad: badpage=0x12345. page_alloc.c parses "first-last", both included."""
    assert xen_badpage(bad((0x12345, 1))).text == "badpage=0x12345"
    assert xen_badpage(bad((0x200, 0x200), (0x8A321, 1))).text == "badpage=0x200-0x3ff,0x8a321"


def test_linux_is_told_sizes_and_addresses() -> None:
    assert linux_memmap(bad((0x12345, 1), (0x8A321, 2))).text == "memmap=4K$0x12345000,8K$0x8a321000"


@pytest.mark.parametrize(
    ("quoting", "text"),
    [
        (Quoting.KERNEL, "memmap=4K$0x12345000"),
        (Quoting.GRUB_CFG, r"memmap=4K\$0x12345000"),
        (Quoting.DEFAULT_GRUB, r"memmap=4K\\\$0x12345000"),
    ],
)
def test_the_dollar_is_escaped_as_often_as_the_file_needs_it(quoting: Quoting, text: str) -> None:
    assert linux_memmap(bad((0x12345, 1)), quoting).text == text


def test_a_shell_makes_of_the_line_in_etc_default_grub_what_grub_cfg_needs(tmp_path: Path) -> None:
    """grub-mkconfig sources the file, and writes the value into grub.cfg as it is."""
    pages = bad((0x12345, 1), (0x8A321, 2))
    file = tmp_path / "grub"
    file.write_text(f'GRUB_CMDLINE_LINUX="quiet {linux_memmap(pages, Quoting.DEFAULT_GRUB).text}"\n')
    script = f'. {file}; printf %s "$GRUB_CMDLINE_LINUX"'
    read = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert read == f"quiet {linux_memmap(pages, Quoting.GRUB_CFG).text}"


def test_what_xens_hundred_bytes_do_not_hold_is_left_off_whole_and_said() -> None:
    """xen/common/page_alloc.c: char opt_badpage[100]. A number that is cut would name another page."""
    many = bad(*((0x1000000 + 2 * n, 1) for n in range(20)), (0x500, 64))
    option = xen_badpage(many)
    words = option.text.removeprefix("badpage=").split(",")
    assert words[0] == "0x500-0x53f"
    assert words[1:] == [f"{0x1000000 + 2 * n:#x}" for n in range(8)]
    assert option.left_off == 12


def test_linux_gets_no_more_regions_than_kaslr_bears() -> None:
    option = linux_memmap(bad(*((16 * n, n) for n in range(1, 8))))
    assert option.text.count("$") == LINUX_MEMMAPS
    assert option.left_off == 1 + 2 + 3


def test_cpus_are_isolated_and_taken_out_again_but_for_the_first() -> None:
    known = BadList(runs([(Frame(5), 1), (Frame(6), 2)]), (CpuId(0), CpuId(7)))
    assert linux_isolcpus(known).text == "isolcpus=0,7"
    assert steps_at_start(known) == (OfflineFrame(Frame(5), 3), OfflineCpu(CpuId(7)))


@given(near)
def test_runs_hold_exactly_the_pages_given_and_never_meet_or_touch(pages: list[tuple[Frame, int]]) -> None:
    joined = runs(pages)
    inside = {first + n for first, number in pages for n in range(number)}
    assert [first + n for first, number in joined for n in range(number)] == sorted(inside)
    assert all(one[0] + one[1] < other[0] for one, other in pairwise(joined))


@given(lists)
def test_an_option_fits_names_only_bad_pages_and_counts_the_rest(known: BadList) -> None:
    option = xen_badpage(known)
    assert len(option.text.removeprefix("badpage=")) <= XEN_BADPAGE_CHARS
    told = set()
    for word in filter(None, option.text.removeprefix("badpage=").split(",")):
        first, _, last = word.partition("-")
        told.add((int(first, 16), int(last or first, 16) - int(first, 16) + 1))
    assert told <= set(known.pages)
    assert sum(pages for _, pages in told) + option.left_off == known.page_count


@given(lists)
def test_every_region_for_linux_is_a_run_of_bad_pages(known: BadList) -> None:
    for kib, address in re.findall(r"(\d+)K\$(0x[0-9a-f]+)", linux_memmap(known).text):
        assert (int(address, 16) >> 12, int(kib) // 4) in known.pages
