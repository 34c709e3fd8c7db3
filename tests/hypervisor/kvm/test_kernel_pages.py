"""What the kernel says of a page, and taking one out of use with the effect verified."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ringfence.hypervisor.kvm.kernel_pages import KernelPages, PageFlag
from ringfence.world.identities import Frame
from ringfence.world.steps import Status
from tests.hypervisor.kvm.files import HostFiles

FRAME = Frame(0x321)
LRU = PageFlag.LRU | PageFlag.ANON | PageFlag.MMAP


@pytest.fixture
def host(tmp_path: Path) -> HostFiles:
    found = HostFiles(tmp_path)
    found.flag(FRAME, LRU)
    return found


@pytest.mark.parametrize("way", ["soft_offline", "hard_offline"])
def test_a_page_is_out_of_use_when_the_kernel_has_marked_it(host: HostFiles, way: str) -> None:
    pages = host.pages()
    assert getattr(pages, way)(FRAME).status is Status.DONE
    assert pages.is_poisoned(FRAME) and not pages.is_poisoned(FRAME + 1)


def test_a_page_that_is_out_of_use_already_is_left_as_it_is(host: HostFiles) -> None:
    host.flag(FRAME, PageFlag.HWPOISON)
    host.refuses[FRAME] = errno.EIO  # whoever asked once more would be refused
    result = host.pages().hard_offline(FRAME)
    assert result.status is Status.DONE and "already" in result.because


def test_what_the_kernel_refuses_has_failed_in_its_words(host: HostFiles) -> None:
    host.refuses[FRAME] = errno.EBUSY
    result = host.pages().soft_offline(FRAME)
    assert result.status is Status.FAILED and "busy" in result.because and "pinned" in result.because


def test_an_order_that_the_kernel_takes_without_effect_has_failed(host: HostFiles) -> None:
    pages = KernelPages(host.pages().root, lambda _path, _text: None)
    assert pages.soft_offline(FRAME).status is Status.FAILED


def test_where_there_is_no_memory_nothing_is_ordered(host: HostFiles) -> None:
    host.flag(FRAME, PageFlag.NOPAGE)
    assert host.pages().soft_offline(FRAME).status is Status.REFUSED


def test_without_the_kernel_s_option_it_is_refused_and_no_capability(tmp_path: Path) -> None:
    pages = KernelPages(tmp_path)
    assert not pages.can_offline
    assert pages.soft_offline(FRAME).status is Status.REFUSED


@pytest.mark.parametrize(("order", "frame", "first"), [(9, 0x40123, 0x40000), (18, 0x7FFFF, 0x40000)])
def test_a_huge_page_is_lost_as_a_whole(host: HostFiles, order: int, frame: int, first: int) -> None:
    host.flag(first, PageFlag.HUGE | PageFlag.COMPOUND_HEAD)
    host.flag(frame, PageFlag.HUGE | PageFlag.COMPOUND_TAIL)
    assert host.pages().huge_pages(frame) == (first, 1 << order)
    host.flag(first, PageFlag.HUGE | PageFlag.COMPOUND_HEAD | PageFlag.HWPOISON)
    assert host.pages().is_poisoned(frame)


def test_a_transparent_huge_page_is_split_by_the_kernel_and_lost_in_part(host: HostFiles) -> None:
    host.flag(0x400, LRU | PageFlag.THP | PageFlag.COMPOUND_HEAD)
    host.flag(0x456, LRU | PageFlag.THP | PageFlag.COMPOUND_TAIL)
    assert host.pages().huge_pages(0x456) == (0x456, 1)


def test_a_cpu_goes_and_comes_by_its_file(host: HostFiles) -> None:
    (host.root / "sys/devices/system/cpu/cpu1").mkdir(parents=True)
    path = host.root / "sys/devices/system/cpu/cpu1/online"
    path.write_text("1\n")
    pages = host.pages()
    assert pages.can_switch_cpus
    assert pages.cpu(1, online=False).status is Status.DONE and path.read_text() == "0"
    assert pages.cpu(1, online=True).status is Status.DONE and path.read_text() == "1"
    assert pages.cpu(0, online=False).status is Status.REFUSED
