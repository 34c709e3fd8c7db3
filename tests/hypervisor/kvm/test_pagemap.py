"""From a frame to the process that has it, by page maps as Linux writes them."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.hypervisor.kvm.pagemap import Pagemaps, Place, page_of
from tests.hypervisor.kvm.files import GUEST_AT, PRESENT, HostFiles, poisoned, present, swapped

FRAME = 0x12345


def _search(host: HostFiles, frame: int, pids: tuple[int, ...], most: int = 1) -> tuple[Place, ...]:
    return Pagemaps(host.root / "proc").search(frame, pids, until_s=time.monotonic() + 60, most=most).places


def test_a_page_that_is_there_is_found_at_its_address(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {3: present(FRAME), 4: present(FRAME + 1)})
    assert _search(host, FRAME, (7,)) == (Place(7, GUEST_AT + 0x3000),)


def test_a_page_that_the_kernel_has_taken_away_is_found_by_its_swap_entry(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {2: present(FRAME + 9), 5: poisoned(FRAME)})
    assert _search(host, FRAME, (7,)) == (Place(7, GUEST_AT + 0x5000, unmapped=True),)


def test_what_only_looks_like_the_frame_is_not_it(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    # The frame's bytes across two entries, in a swapped page's offset, and in an entry that says that nothing is there.
    across = int.from_bytes(FRAME.to_bytes(6, "little")[:3].rjust(8, b"\0"), "little")
    host.process(7, {0: across, 1: int.from_bytes(FRAME.to_bytes(6, "little")[3:], "little"), 2: FRAME,
                     3: swapped(FRAME) & ~(1 << 62), 6: PRESENT | FRAME << 8})  # fmt: skip
    assert _search(host, FRAME, (7,)) == ()


def test_a_page_in_a_swap_file_is_not_the_frame_that_has_the_number_of_its_slot(tmp_path: Path) -> None:
    host, maps = HostFiles(tmp_path), Pagemaps(tmp_path / "proc")
    host.process(7, {3: swapped(FRAME), 4: swapped(FRAME) | 1})
    host.process(8, {5: poisoned(FRAME)})
    assert _search(host, FRAME, (7, 8)) == (Place(8, GUEST_AT + 0x5000, unmapped=True),)
    assert maps.frame_at(7, GUEST_AT + 0x3000) is None and maps.frame_at(7, GUEST_AT + 0x4000) is None


def test_all_that_share_a_page_are_found(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    for pid in (7, 8, 9):
        host.process(pid, {pid - 7: present(FRAME)})
    assert {each.pid for each in _search(host, FRAME, (7, 8, 9), most=3)} == {7, 8, 9}
    assert len(_search(host, FRAME, (7, 8, 9), most=1)) == 1


def test_a_process_that_has_ended_has_nothing(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(8, {1: present(FRAME)})
    assert _search(host, FRAME, (7, 8)) == (Place(8, GUEST_AT + 0x1000),)


def test_a_place_that_is_known_is_verified_before_it_is_believed(tmp_path: Path) -> None:
    host, maps = HostFiles(tmp_path), Pagemaps(tmp_path / "proc")
    host.process(7, {3: present(FRAME)})
    assert maps.search(FRAME, (7,), until_s=time.monotonic() + 60).looked_at_bytes > 0
    again = maps.search(FRAME, (7,), until_s=time.monotonic() + 60)
    assert again.places == (Place(7, GUEST_AT + 0x3000),) and again.looked_at_bytes == 0
    host.process(7, {3: poisoned(FRAME)})
    assert maps.search(FRAME, (7,), until_s=time.monotonic() + 60).places[0].unmapped
    host.process(7, {3: 0, 8: present(FRAME)})
    assert maps.search(FRAME, (7,), until_s=time.monotonic() + 60).places == (Place(7, GUEST_AT + 0x8000),)


def test_a_search_whose_time_is_over_says_that_it_is_not_complete(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(7, {3: present(FRAME)})
    found = Pagemaps(tmp_path / "proc").search(FRAME + 1, (7,), until_s=time.monotonic() - 1)
    assert found.places == () and not found.complete


@settings(max_examples=60, deadline=None)
@given(
    frame=st.integers(1, (1 << 40) - 1),
    page=st.integers(0, 15),
    gone=st.booleans(),
    others=st.dictionaries(st.integers(0, 15), st.integers(1, (1 << 40) - 1), max_size=6),
)
def test_whatever_else_is_there_a_frame_is_found_where_it_is_and_nowhere_else(
    tmp_path_factory: pytest.TempPathFactory, frame: int, page: int, gone: bool, others: dict[int, int]
) -> None:
    host = HostFiles(tmp_path_factory.mktemp("proc"))
    entries = {at: present(other) for at, other in others.items() if other != frame}
    host.process(7, {**entries, page: poisoned(frame) if gone else present(frame)})
    assert _search(host, frame, (7,), most=99) == (Place(7, GUEST_AT + page * 4096, gone),)


def test_frames_are_shown_or_not_by_this_process_s_own_map(tmp_path: Path) -> None:
    host = HostFiles(tmp_path)
    host.process(1, {0: present(FRAME)})
    (tmp_path / "proc/self").symlink_to("1")
    assert Pagemaps(tmp_path / "proc").shows_frames()
    host.process(1, {0: PRESENT})  # without CAP_SYS_ADMIN the frame reads as zero
    assert not Pagemaps(tmp_path / "proc").shows_frames()


def test_a_page_of_this_very_process_is_found_in_the_real_map() -> None:
    maps = Pagemaps()
    if not maps.shows_frames():
        return  # without CAP_SYS_ADMIN the kernel shows no frames: there is nothing to look for
    memory = mmap.mmap(-1, 1 << 20)
    memory[5 * 4096] = 1
    anchor = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(anchor) + 5 * 4096
    at = maps.frame_at(os.getpid(), address)
    assert at is not None and not at[1]
    found = maps.search(at[0], (os.getpid(),), until_s=time.monotonic() + 60)
    assert found.places == (Place(os.getpid(), page_of(address)),)
    del anchor
    memory.close()
