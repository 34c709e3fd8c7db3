"""What the host's kernel did with poisoned pages, by its own log: /dev/kmsg, read without waiting.

Source: Linux mm/memory-failure.c (action_result: "Memory failure: 0x...: recovery action for ...: ..."; kill_proc and
kill_procs: "... Sending SIGBUS to NAME:PID due to hardware memory corruption", of older kernels "Killing NAME:PID due
to ...", "forcibly killing NAME:PID because of ..."); Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

KEPT: Final = 1024
"""Frames whose story is remembered; each is some hundred bytes."""
LINE_BYTES: Final = 8192
"""Of one record (include/linux/printk.h, CONSOLE_EXT_LOG_MAX)."""
AT_ONCE: Final = 65_536
"""Records read in one turn: what a log of 8 MiB holds at the most."""

_ACTION = re.compile(
    r"(?:mce: )?Memory failure: 0x(?P<frame>[0-9a-f]{1,13}): recovery action for (?P<page>.{1,64}): "
    r"(?P<result>\w{1,16})$"
)
_ALREADY = re.compile(
    r"(?:mce: )?Memory failure: 0x(?P<frame>[0-9a-f]{1,13}): "
    r"(?:already hardware poisoned|recovery action for already poisoned page: \w{1,16})$"
)
"""Linux up to 6.12 or so says the one, later ones the other."""
_SIGNAL = re.compile(
    r"(?:mce: )?Memory failure: 0x(?P<frame>[0-9a-f]{1,13}): (?:Sending SIGBUS to|(?:forcibly k|K)illing) "
    r"(?P<name>.{1,32}):(?P<pid>\d{1,10}) (?:due to hardware|because of failure)"
)
_QEMU = re.compile(r"qemu|kvm|CPU \d", re.IGNORECASE)
"""What the kernel calls a QEMU: the program's name, cut to 15 characters, or that of a thread ("CPU 0/KVM")."""


def _is_kernels(head: bytes) -> bool:
    """Whether a record is of the kernel itself (facility 0): whoever may write to /dev/kmsg can have any other, and put
    any text there (Documentation/ABI/testing/dev-kmsg).
    """
    priority = head.partition(b",")[0]
    return priority.isdigit() and int(priority[:9]) >> 3 == 0


def _logged_s(head: bytes) -> float | None:
    """When a record was logged, in seconds since the boot by the kernel's local clock."""
    fields = head.split(b",")
    return int(fields[2][:18]) / 1e6 if len(fields) > 2 and fields[2].isdigit() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the kernel said of a frame. ``page`` is what it was, ``result`` what became of it ("Recovered", "Ignored",
    "Failed", "Delayed"); ``signalled`` are the threads that got SIGBUS, ``qemus`` those of them that go by a QEMU's
    name, ``signalled_s`` is when the last one got it, in seconds since the boot; ``at_s`` is when it was read
    (monotonic). ``again``: it was marked as broken before the error came.
    """

    page: str = ""
    result: str = ""
    signalled: tuple[int, ...] = ()
    qemus: tuple[int, ...] = ()
    signalled_s: float | None = None
    again: bool = False
    at_s: float = 0.0

    @property
    def is_told(self) -> bool:
        """Whether the kernel has said what it did."""
        return bool(self.result) or self.again

    @property
    def is_free_page(self) -> bool:
        """Whether nobody had it ("free buddy page", "free huge page"; "huge page ... free" of older kernels)."""
        return "free" in self.page

    @property
    def is_huge_page(self) -> bool:
        """Whether somebody had it as a part of a huge page (hugetlbfs), which is lost to him as a whole."""
        return "huge page" in self.page and not self.is_free_page

    @property
    def is_kernel_page(self) -> bool:
        """Whether the kernel could not give it up, for it is its own (or it cannot tell)."""
        return any(word in self.page for word in ("kernel", "slab", "unknown page", "get hwpoison"))


SILENT: Final = Story()
"""Nothing was said of it."""


@dataclass(slots=True)
class KernelWords:
    """The stories of frames. ``turn`` reads on, in whichever thread."""

    path: Path = Path("/dev/kmsg")
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _file: int | None = None
    _stories: OrderedDict[int, Story] = field(default_factory=OrderedDict)

    @property
    def is_read(self) -> bool:
        """Whether the log may be read at all."""
        return self._file is not None

    def turn(self) -> None:
        """Read what has come. A log that may not be read tells nothing."""
        with self._lock:
            self._turn()

    def _turn(self) -> None:
        if self._file is None:
            try:
                self._file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return
        for _ in range(AT_ONCE):
            try:
                raw = os.read(self._file, LINE_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # overwritten before it was read: the next record is the oldest that is left
            except OSError:
                return
            if not raw:
                return
            for line in raw.split(b"\n"):
                head, _, text = line.partition(b";")
                if _is_kernels(head):  # what is indented belongs to the record above
                    self.heard(text.decode("utf-8", "replace"), _logged_s(head))

    def heard(self, line: str, logged_s: float | None = None) -> None:
        """One line of the log, and when it was logged (since the boot)."""
        if match := _ALREADY.match(line):
            frame = int(match["frame"], 16)
            told = replace(self.story(frame), again=True)
        elif match := _ACTION.match(line):
            frame = int(match["frame"], 16)
            told = replace(self.story(frame), page=match["page"], result=match["result"])
        elif match := _SIGNAL.match(line):
            frame = int(match["frame"], 16)
            before, thread = self.story(frame), int(match["pid"])
            qemus = (*before.qemus, thread) if _QEMU.search(match["name"]) else before.qemus
            told = replace(
                before, signalled=_once(*before.signalled, thread), qemus=_once(*qemus), signalled_s=logged_s
            )
        else:
            return
        self._stories[frame] = replace(told, at_s=time.monotonic())
        self._stories.move_to_end(frame)
        while len(self._stories) > KEPT:
            self._stories.popitem(last=False)

    def story(self, frame: int) -> Story:
        """What was said of a frame; nothing yet, if nothing was."""
        return self._stories.get(frame, SILENT)

    def newest_of(self, threads: frozenset[int], since_s: float) -> int | None:
        """The frame for which one of these threads was last sent SIGBUS, not before ``since_s``."""
        with self._lock:
            stories = tuple(reversed(self._stories.items()))
        for frame, story in stories:
            if story.at_s < since_s:
                return None
            if threads.intersection(story.signalled):
                return frame
        return None


def _once(*threads: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(threads))
