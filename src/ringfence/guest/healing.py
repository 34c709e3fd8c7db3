"""What the agent does about pages that it is told of: hooks, the kernel's page offlining, their owners; and its answer.

Nothing is taken for done because it was asked for: afterwards each page must show itself as out of use
(/proc/kpageflags, HWPOISON), or, where the kernel does not show its pages, the sum of those that are must have grown.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.guest import hooks
from ringfence.guest.pages import PAGE_BYTES, Flag, Owner, Pages
from ringfence.guest.policy import OwnerAction, PageAction, Policy
from ringfence.guest.protocol import Ability, Answer, Deed, Outcome, Told, What, text

MOST_PAGES: Final = 4_096
"""Of one message that are taken out one by one: eight superpages of 2 MiB, some seconds of the kernel's time."""
ATTEMPTS: Final = 3
"""At a page that is busy for a moment (EBUSY, EAGAIN: it is locked, or pinned for I/O)."""
PAUSE_S: Final = 0.05
UNIT_S: Final = 30.0
"""For the restart of a unit; it goes on by itself after that."""
SYSTEMCTL: Final = "/usr/bin/systemctl"

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.@+/()-]+", re.ASCII)
"""What a process calls itself may be anything: hooks, which are often shell scripts, see this of it."""
_BUSY: Final = {errno.EBUSY, errno.EAGAIN}


@dataclass(frozen=True, slots=True)
class Healed:
    """An answer, and what was seen on the way, for the guest's own log."""

    answer: Answer
    owners: tuple[Owner, ...] = ()
    hooks: tuple[hooks.Ran, ...] = ()


@dataclass(slots=True)
class _Course:
    """What has been done so far about one message."""

    told: Told
    until_s: float
    did: list[Deed] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    owners: tuple[Owner, ...] = ()
    ran: list[hooks.Ran] = field(default_factory=list)

    def done(self, deed: Deed) -> None:
        if deed not in self.did:
            self.did.append(deed)

    def ends(self, outcome: Outcome) -> Healed:
        why = text("; ".join(self.why))
        answer = Answer(id=self.told.id, case=self.told.case, outcome=outcome, did=tuple(self.did), why=why)
        return Healed(answer, self.owners, tuple(self.ran))


@dataclass(frozen=True, slots=True)
class Healer:
    """Heals by a policy. ``dry_run``: nothing is changed, and the answer is a refusal that says so."""

    policy: Policy
    pages: Pages
    dry_run: bool = False
    systemctl: str = SYSTEMCTL

    @property
    def can(self) -> tuple[Ability, ...]:
        """What can be done here, as far as it can be seen without doing it."""
        there = {
            Ability.SOFT_OFFLINE: os.access(self.pages.soft_offline, os.W_OK),
            Ability.HARD_OFFLINE: os.access(self.pages.hard_offline, os.W_OK),
            Ability.FIND_OWNER: self.pages.flags(0) is not None,
            Ability.KILL: self.policy.owner is OwnerAction.KILL,
            Ability.RESTART_UNIT: self.policy.owner is OwnerAction.RESTART_UNIT and Path(self.systemctl).exists(),
            Ability.HOOKS: bool(hooks.hooks(self.policy.hooks)[0]),
        }
        return tuple(each for each, is_there in there.items() if is_there)

    def heal(self, told: Told) -> Healed:
        """Do what the policy says about the pages that were told. Raises nothing that a page or a hook can cause."""
        course = _Course(told, time.monotonic() + told.deadline_ms / 1000)
        frames = [
            frame
            for each in told.ranges
            for frame in range(each.address // PAGE_BYTES, (each.address + each.size_bytes) // PAGE_BYTES)
        ][: MOST_PAGES + 1]
        if len(frames) > MOST_PAGES:
            course.why.append(f"more than {MOST_PAGES} pages at once")
            return course.ends(Outcome.FAILED)
        flags = {frame: self.pages.flags(frame) for frame in frames}
        ours = [frame for frame in frames if not _has(flags[frame], Flag.NOPAGE)]
        if not ours:
            course.why.append("this guest has no memory there")
            return course.ends(Outcome.NOT_OURS)
        if len(ours) < len(frames):
            course.why.append(f"{len(frames) - len(ours)} of {len(frames)} pages are not of this guest")
        return self._heal(course, ours, [frame for frame in ours if not _has(flags[frame], Flag.HWPOISON)])

    def _heal(self, course: _Course, ours: Sequence[int], still_in_use: Sequence[int]) -> Healed:
        told, action = course.told, self.policy.pages[course.told.what]
        treats_owners = told.what is What.LOST and self.policy.owner is not OwnerAction.LEAVE
        scripts, refused = hooks.hooks(self.policy.hooks)
        course.ran += refused
        if still_in_use and (treats_owners or scripts):
            course.owners = tuple(self.pages.owners(still_in_use))
        if self._run(scripts, course, ours, "before"):
            return course.ends(Outcome.REFUSED)
        outcome = self._take_out(course, action, still_in_use)
        if treats_owners and outcome in {Outcome.HEALED, Outcome.FAILED}:
            self._treat_owners(course)
        self._run(scripts, course, ours, "after", outcome)
        return course.ends(outcome)

    # --- pages

    def _take_out(self, course: _Course, action: PageAction, frames: Sequence[int]) -> Outcome:
        if not frames:
            course.done(Deed.OFFLINE_ALREADY)
            return Outcome.HEALED
        if action is PageAction.NOTHING:
            course.why.append("this guest's policy leaves such pages in use")
            return Outcome.REFUSED
        soft = action is PageAction.SOFT_OFFLINE
        file = self.pages.soft_offline if soft else self.pages.hard_offline
        if self.dry_run:
            course.done(Deed.DRY_RUN)
            course.why.append(f"dry run: {len(frames)} page(s) would have been {action}d")
            return Outcome.REFUSED
        before_kib = self.pages.corrupted_kib()
        left = {frame: why for frame in frames if (why := self._offline(file, frame)) is not None}
        if len(left) < len(frames):
            course.done(Deed.SOFT_OFFLINED if soft else Deed.HARD_OFFLINED)
        left |= {
            frame: "it is still in use all the same" for frame in frames if frame not in left and self._stays(frame)
        }
        if left:
            frame, why = next(iter(left.items()))
            course.why.append(f"{len(left)} of {len(frames)} pages stay in use; {frame * PAGE_BYTES:#x}: {why}")
            return Outcome.FAILED
        if self.pages.flags(frames[0]) is None:
            return self._by_sum(course, before_kib, len(frames))
        return Outcome.HEALED

    def _offline(self, file: Path, frame: int) -> str | None:
        """Have a page taken out; why not, if it was not."""
        for attempt in range(ATTEMPTS):
            try:
                self.pages.take_out(file, frame)
            except OSError as error:
                if error.errno in _BUSY and attempt + 1 < ATTEMPTS:
                    time.sleep(PAUSE_S)
                    continue
                return f"the kernel answers {error.strerror}"
            break
        return None

    def _stays(self, frame: int) -> bool:
        flags = self.pages.flags(frame)
        return flags is not None and not flags & (Flag.HWPOISON | Flag.NOPAGE)

    def _by_sum(self, course: _Course, before_kib: int | None, count: int) -> Outcome:
        after_kib = self.pages.corrupted_kib()
        if before_kib is None or after_kib is None:
            course.why.append("the kernel does not show whether they are out of use")
            return Outcome.HEALED
        if after_kib - before_kib < count * PAGE_BYTES // 1024:
            course.why.append("HardwareCorrupted in /proc/meminfo has not grown by them")
            return Outcome.FAILED
        return Outcome.HEALED

    # --- who has them

    def _treat_owners(self, course: _Course) -> None:
        if self.dry_run:
            course.done(Deed.DRY_RUN)
            return
        if self.policy.owner is OwnerAction.KILL:
            for owner in course.owners:
                self._kill(course, owner)
            return
        units = dict.fromkeys(each.unit for each in course.owners)
        for unit in units:
            if unit in self.policy.units:
                self._restart(course, unit)
            else:
                course.why.append(f"{unit or 'a process of no unit'} is not among the units that may be restarted")

    def _kill(self, course: _Course, owner: Owner) -> None:
        if owner.pid in {1, os.getpid()}:
            course.why.append("init and the agent are not killed")
            return
        try:
            descriptor = os.pidfd_open(owner.pid)
        except OSError:
            return  # it has ended
        try:
            # Now that the number is held, it cannot be another process's any more.
            if self.pages.is_same(owner):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                course.done(Deed.KILLED)
                course.why.append(f"killed {owner.pid} ({owner.name})")
        except OSError as error:
            course.why.append(f"{owner.pid} cannot be killed: {error.strerror}")
        finally:
            os.close(descriptor)

    def _restart(self, course: _Course, unit: str) -> None:
        try:
            ended = subprocess.run(  # noqa: S603 (a name that the administrator wrote into the policy)
                [self.systemctl, "--no-ask-password", "restart", "--", unit],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=UNIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            course.why.append(f"{unit} has not been restarted within {UNIT_S:.0f} s")
            return
        except OSError as error:
            course.why.append(f"{unit} cannot be restarted: {error.strerror}")
            return
        if ended.returncode == 0:
            course.done(Deed.RESTARTED_UNIT)
            course.why.append(f"restarted {unit}")
        else:
            course.why.append(f"{unit} cannot be restarted: systemctl ended with {ended.returncode}")

    # --- hooks

    def _run(
        self, scripts: Sequence[Path], course: _Course, frames: Sequence[int], stage: str, outcome: str = ""
    ) -> bool:
        """Run all hooks; whether one of them wants the pages to stay."""
        told = course.told
        environment = {
            "RINGFENCE_STAGE": stage,
            "RINGFENCE_WHAT": told.what,
            "RINGFENCE_MUST_ACT": str(int(told.must_act)),
            "RINGFENCE_CASE": str(told.case),
            "RINGFENCE_PAGES": " ".join(f"{frame * PAGE_BYTES:#x}" for frame in frames),
            "RINGFENCE_OWNERS": " ".join(
                f"{each.pid}:{_NOT_IN_NAMES.sub('_', each.name)}:{_NOT_IN_NAMES.sub('_', each.unit)}"
                for each in course.owners
            ),
            "RINGFENCE_OUTCOME": outcome,
            "RINGFENCE_DRY_RUN": str(int(self.dry_run)),
        }
        vetoes = False
        for script in scripts:
            ran = hooks.run(script, environment, max(0.0, min(self.policy.hook_s, course.until_s - time.monotonic())))
            course.ran.append(ran)
            if ran.code is not None:
                course.done(Deed.RAN_HOOK)
            if ran.why:
                course.why.append(f"hook {ran.name}: {ran.why}")
            vetoes |= stage == "before" and ran.code == hooks.VETO
        return vetoes


def _has(flags: Flag | None, flag: Flag) -> bool:
    return flags is not None and bool(flags & flag)
