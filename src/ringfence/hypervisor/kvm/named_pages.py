"""The pages that a record names, as they are after the kernel has done what it does by itself.

The kernel gives a broken page up from the same notifier that reported it (arch/x86/kernel/cpu/mce/core.c,
uc_decode_notifier), a moment after the report: whoever looks at once would see a page that is still in use, and do to
its guest what kernel and QEMU are about to do. So an uncorrected error is looked at when the page is marked, or when
it is plain that the kernel does not mark it (``SETTLE_S``).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ringfence.arch.cpuid import Vendor
from ringfence.arch.mci_status import DEFERRED, PCC, UC
from ringfence.hypervisor.kvm import facts
from ringfence.hypervisor.kvm.kernel_pages import HUGE_ORDERS, PageFlag
from ringfence.hypervisor.kvm.owners import NOT_KNOWN, Answer
from ringfence.hypervisor.kvm.parts import Parts
from ringfence.hypervisor.telemetry import frames_named
from ringfence.record.evidence import ClaimedSeverity, Record
from ringfence.world.frames import FrameFacts
from ringfence.world.identities import PAGE_SHIFT, DomainId, Frame
from ringfence.world.situation import AlreadyDone

SETTLE_S: Final = 1.0
"""The kernel marks a page within milliseconds; a host that is emulated takes some hundred."""
RECORD_S: Final = 16.0
"""For all the pages of one record together, so that the writer gives systemd's watchdog (30 s) its sign of life."""
TOLD_S: Final = 5.0
"""From the kernel's signal to QEMU's word that it has told its guest: milliseconds, and more on a host that is busy. A
guest that is taken for one that was not told is restarted, for nothing is left that could be done."""
MARKED_S: Final = 5.0
"""From the mark to the kernel's words: it unmaps the page and signals in between. Without them it is not known whether
a QEMU was signalled."""
LOOK_S: Final = 0.005
PAST_S: Final = 60.0
"""What happened so long ago is looked at as it is."""
MOST_LOOKED_UP: Final = 16
"""Frames of one record whose owners are looked for: a record that names more is of a region, not of a page."""
REMEMBERED: Final = 4096
"""Frames that are known to be bad, or that were waited for."""

_CORRECTED: Final = frozenset({ClaimedSeverity.CORRECTED, ClaimedSeverity.INFORMATIONAL})


def is_uncorrected(record: Record) -> bool:
    """Whether data was lost, by a glance at the bits or at what the source says."""
    status = record.registers.status
    if status is not None:
        amd = record.vendor in {Vendor.AMD, Vendor.HYGON} or record.registers.ipid is not None
        return bool(UC.of(status) or PCC.of(status) or (amd and DEFERRED.of(status)))
    return record.memory is not None and record.memory.severity not in {*_CORRECTED, None}


def frames_of(record: Record) -> tuple[Frame, ...]:
    """The frames that a record names: by its registers, or as kernel, EDAC or firmware say."""
    found = frames_named(record)
    if found or record.memory is None:
        return found
    if record.memory.page_frame is not None:
        return (Frame(record.memory.page_frame),)
    address = record.memory.physical_address
    return () if address is None else (Frame(address >> PAGE_SHIFT),)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found of a record's pages; ``consumer`` is the guest that took the error in, by QEMU's word."""

    frames: tuple[FrameFacts, ...] = ()
    done: tuple[AlreadyDone, ...] = ()
    consumer: DomainId | None = None


@dataclass(slots=True)
class NamedPages:
    """The looking at pages that records name. ``bad`` are those of uncorrected errors: they must not be read."""

    parts: Parts
    bad: OrderedDict[Frame, None] = field(default_factory=OrderedDict)
    _waited: OrderedDict[Frame, None] = field(default_factory=OrderedDict)
    _until_s: float = 0.0

    def of(
        self, record: Record, numbers_now: Callable[[], Mapping[str, DomainId]], passes_through: Callable[[str], bool]
    ) -> Seen:
        """What is known of the pages of a record. Waits up to ``RECORD_S`` for an uncorrected error. ``numbers_now``
        are the guests' numbers by their keys: asked for after each look, which may have found new ones.
        """
        self._until_s = time.monotonic() + RECORD_S
        frames = frames_of(record)
        urgent = is_uncorrected(record)
        if urgent:
            # What came while nobody listened is decided about with the guests known.
            self.parts.guests.first_look(RECORD_S)
        now = urgent and (record.time is None or record.time > time.time() - PAST_S)
        if urgent:
            for frame in frames[:MOST_LOOKED_UP]:
                _remember(self.bad, frame)
        if now:
            for frame in frames[:MOST_LOOKED_UP]:
                self._settle(frame)
        self.parts.words.turn()
        found = [self._one(frame, numbers_now, passes_through, urgent=urgent, at=at) for at, frame in enumerate(frames)]
        done: list[AlreadyDone] = []
        consumer, numbers = None, numbers_now()
        # What came while nobody listened was dealt with by kernel and QEMU no less.
        for frame, (known, answer) in zip(frames, found, strict=True) if urgent else ():
            told = self._told(frame, answer, numbers, wait_s=TOLD_S if now else 0.0)
            killed = self._killed(frame, numbers)
            done += facts.deeds(known, told, killed)
            consumer = consumer or next((each for each in told if self._consumed(each, numbers)), None)
        return Seen(_merged([known for known, _ in found]), tuple(dict.fromkeys(done)), consumer)

    def heed_lost(self, frames: Iterable[Frame]) -> None:
        """These are bad as well, by the journal of an earlier life; of very many the last ones."""
        for frame in frames:
            _remember(self.bad, frame)

    def _settle(self, frame: Frame) -> None:
        """Wait until the kernel has marked the page, once for each."""
        if frame in self._waited:
            return
        _remember(self._waited, frame)
        until_s = min(self._until_s, time.monotonic() + SETTLE_S)
        pages = self.parts.pages
        flags = pages.flags(frame)
        while flags is not None and not flags & (PageFlag.HWPOISON | PageFlag.NOPAGE) and time.monotonic() < until_s:
            time.sleep(LOOK_S)
            flags = pages.flags(frame)
        # Its words come after the mark: they say what the page was.
        until_s = min(self._until_s, time.monotonic() + MARKED_S)
        while flags is not None and flags & PageFlag.HWPOISON and time.monotonic() < until_s:
            self.parts.words.turn()
            if self.parts.words.story(frame).is_told or not self.parts.words.is_read:
                return
            time.sleep(LOOK_S)

    def _one(
        self,
        frame: Frame,
        numbers_now: Callable[[], Mapping[str, DomainId]],
        passes_through: Callable[[str], bool],
        *,
        urgent: bool,
        at: int,
    ) -> tuple[FrameFacts, Answer]:
        pages, story = self.parts.pages, self.parts.words.story(frame)
        flags, maps = pages.flags(frame), pages.maps(frame)
        first, count = pages.huge_pages(frame)
        answer = Answer()
        if facts.may_be_a_guests(flags, story, maps):
            left_s = max(0.0, self._until_s - time.monotonic())
            owners = self.parts.owners
            answer = owners.of(frame, urgent=urgent, most_s=left_s) if at < MOST_LOOKED_UP else NOT_KNOWN
        if count == 1 and story.is_huge_page and answer.holders:
            # The kernel has given the sound rest of it back to itself; its guest has lost all of it.
            count = self._huge_pages(answer.holders[0].key)
            first = frame & ~(count - 1)
        known = facts.facts(
            frame, flags=flags, story=story, maps=maps, pages=1, answer=answer, numbers=numbers_now(),
            passes_through=passes_through,
        )  # fmt: skip
        return (facts.whole(known, Frame(first), count) if count > 1 else known), answer

    def _huge_pages(self, key: str) -> int:
        """Of how many frames a guest's huge pages are; the smallest size where nobody says."""
        guest = self.parts.guests.sight.guest(key)
        size_kib = 0 if guest is None else guest.details.huge_page_kib
        return max(1 << HUGE_ORDERS[0], (size_kib << 10) >> PAGE_SHIFT)

    def _told(
        self, frame: Frame, answer: Answer, numbers: Mapping[str, DomainId], wait_s: float
    ) -> frozenset[DomainId]:
        """The guests that QEMU has told of this page; those that the kernel has signalled are waited for. What QEMU
        said while nobody listened is in its log.
        """
        holders = {each.key: each for each in answer.holders if each.key in numbers}
        story, failures = self.parts.words.story(frame), self.parts.failures
        signalled_s = story.at_s or self._until_s - RECORD_S
        since_s = time.time() - (time.monotonic() - signalled_s) - 1.0
        is_to_say = story.signalled or not self.parts.words.is_read  # a log that is not read does not say whom
        until_s = min(self._until_s, time.monotonic() + (wait_s if is_to_say else 0.0))
        while True:
            said = {key: failures.said(key, frame, since_s) for key in holders}
            if all(said.values()) or time.monotonic() >= until_s:
                break
            time.sleep(LOOK_S)
        told = {key for key, actions in said.items() if "inject" in actions}
        if story.signalled_s is not None:
            since_s = time.time() - time.monotonic() + story.signalled_s
            silent = (each for key, each in holders.items() if key not in told)
            told |= {each.key for each in silent if failures.logged(each.key, each.host_address, since_s)}
        return frozenset(numbers[key] for key in told)

    def _consumed(self, domain: DomainId, numbers: Mapping[str, DomainId]) -> bool:
        key = next((key for key, number in numbers.items() if number == domain), "")
        return self.parts.failures.was_consumed(key, time.time() - PAST_S)

    def _killed(self, frame: Frame, numbers: Mapping[str, DomainId]) -> frozenset[DomainId]:
        """The guests whose QEMU the kernel has signalled because of this page, and that is gone."""
        signalled = self.parts.words.story(frame).signalled
        gone = {self.parts.owners.ended(thread) for thread in signalled}
        return frozenset(numbers[key] for key in gone if key in numbers)


def _merged(found: list[FrameFacts]) -> tuple[FrameFacts, ...]:
    """Frames of one huge page are one fact."""
    return tuple({(each.frame, each.pages): each for each in found}.values())


def _remember(known: OrderedDict[Frame, None], frame: Frame) -> None:
    known[frame] = None
    known.move_to_end(frame)
    while len(known) > REMEMBERED:
        known.popitem(last=False)
