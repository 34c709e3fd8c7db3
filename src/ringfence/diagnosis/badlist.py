"""What was once judged bad, and how the boot loader is told to leave it out: Xen's ``badpage=``, Linux's ``memmap=``.

A reboot forgets which pages and CPUs were taken out of use; the part is as broken as before. Boot options are short:
what does not fit is said, and is taken out again by steps when Ringfence starts (``steps_at_start``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ringfence.world.identities import PAGE_BYTES, PAGE_SHIFT, CpuId, Frame
from ringfence.world.situation import Suspect
from ringfence.world.steps import OfflineCpu, OfflineFrame, Step

XEN_BADPAGE_CHARS: Final = 99
"""Xen keeps the option in 100 bytes, a NUL among them, and cuts what is longer (xen/common/page_alloc.c, opt_badpage);
a number that is cut in the middle names another page. If the option is given twice, the last one holds."""

LINUX_MEMMAPS: Final = 4
"""With more regions the kernel boots at its default address: KASLR is given up (Linux arch/x86/boot/compressed/kaslr.c,
MAX_MEMMAP_REGIONS)."""

LINUX_CHARS: Final = 1024
"""Of the 2048 characters of a command line (Linux arch/x86/include/asm/setup.h, COMMAND_LINE_SIZE) at most half."""


class Quoting(StrEnum):
    """Where an option is written: ``$`` names a variable in GRUB's files, and is lost unless it is escaped.

    Unescaped, GRUB hands ``memmap=100M$5G`` over as ``memmap=100MG`` (Linux commit 8fcc9bc3eaa2).
    """

    KERNEL = "kernel"
    """As the kernel must see it: /proc/cmdline, a systemd-boot entry, a virtual machine's direct kernel boot."""
    GRUB_CFG = "grub.cfg"
    """GRUB's own language: a backslash before ``$``."""
    DEFAULT_GRUB = "/etc/default/grub"
    """Within double quotes in a file that a shell reads first, which takes one layer of backslashes away."""


_DOLLAR: Final = {Quoting.KERNEL: "$", Quoting.GRUB_CFG: r"\$", Quoting.DEFAULT_GRUB: r"\\\$"}


@dataclass(frozen=True, slots=True)
class BadPart:
    """A part that a fault stands against, and in which stage it is (``fault_case.Stage``)."""

    suspect: Suspect
    name: str
    stage: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadList:
    """What is known to be bad. ``pages`` are (first frame, how many), in order, that neither meet nor touch."""

    pages: tuple[tuple[Frame, int], ...] = ()
    cpus: tuple[CpuId, ...] = ()
    parts: tuple[BadPart, ...] = ()

    @property
    def page_count(self) -> int:
        """How many pages."""
        return sum(pages for _, pages in self.pages)


@dataclass(frozen=True, slots=True)
class BootOption:
    """An option for the boot loader, empty if there is nothing to say; ``left_off`` pages did not fit in it."""

    text: str
    left_off: int = 0


def runs(frames: Iterable[tuple[Frame, int]]) -> tuple[tuple[Frame, int], ...]:
    """Frames as runs: (first, how many) in order, joined where they meet or touch."""
    found: list[list[int]] = []
    for first, pages in sorted(frames):
        if found and first <= found[-1][0] + found[-1][1]:
            found[-1][1] = max(found[-1][1], first + pages - found[-1][0])
        elif pages > 0:
            found.append([first, pages])
    return tuple((Frame(first), pages) for first, pages in found)


def xen_badpage(bad: BadList) -> BootOption:
    """``badpage=`` for Xen's command line: machine frame numbers, ranges with their last frame (xen-command-line).

    It is Xen's own option: under Xen, ``memmap=`` of the Dom0 kernel is about Dom0's pseudo-physical memory.
    """
    words = {run: f"{run[0]:#x}" if run[1] == 1 else f"{run[0]:#x}-{run[0] + run[1] - 1:#x}" for run in bad.pages}
    kept, left_off = _fitting(bad, words, XEN_BADPAGE_CHARS, len(words))
    return BootOption(f"badpage={','.join(words[run] for run in kept)}" if kept else "", left_off)


def linux_memmap(bad: BadList, quoting: Quoting = Quoting.KERNEL) -> BootOption:
    """``memmap=size$start`` for the command line of a Linux that owns the machine: those regions become reserved.

    Several regions are divided by commas (Linux Documentation/admin-guide/kernel-parameters.txt).
    """
    words = {run: f"{run[1] * PAGE_BYTES // 1024}K{_DOLLAR[quoting]}{run[0] << PAGE_SHIFT:#x}" for run in bad.pages}
    kept, left_off = _fitting(bad, words, LINUX_CHARS, LINUX_MEMMAPS)
    return BootOption(f"memmap={','.join(words[run] for run in kept)}" if kept else "", left_off)


def _fitting(
    bad: BadList, words: dict[tuple[Frame, int], str], chars: int, number: int
) -> tuple[list[tuple[Frame, int]], int]:
    """The runs that fit, the largest first to be taken, in order of address; and how many pages are left off."""
    kept: list[tuple[Frame, int]] = []
    length = 0
    for run in sorted(bad.pages, key=lambda run: (-run[1], run[0])):
        more = len(words[run]) + bool(kept)
        if len(kept) < number and length + more <= chars:
            kept.append(run)
            length += more
    return sorted(kept), bad.page_count - sum(pages for _, pages in kept)


def linux_isolcpus(bad: BadList) -> BootOption:
    """``isolcpus=`` for Linux: nothing is scheduled there before the CPUs are taken offline.

    Linux has no option that leaves single CPUs out: ``maxcpus=n`` and ``nr_cpus=n`` keep the first n (Linux
    kernel-parameters.txt). Neither has Xen (``maxcpus=``, xen-command-line); ``steps_at_start`` takes them out.
    """
    cpus = ",".join(str(cpu) for cpu in bad.cpus)
    return BootOption(f"isolcpus={cpus}" if cpus else "")


def steps_at_start(bad: BadList) -> tuple[Step, ...]:
    """What to order after a reboot, so that it is out of use again. The first CPU cannot be taken out."""
    return (
        *(OfflineFrame(first, pages) for first, pages in bad.pages),
        *(OfflineCpu(cpu) for cpu in bad.cpus if cpu),
    )
