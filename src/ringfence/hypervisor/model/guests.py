"""What guests do when they are told of lost pages: a closed set of behaviours by name, chance and time handed in.

A behaviour is the guest's kernel with its MCA handler. It says what it will do, the host does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Final, Protocol

from ringfence.world.identities import GuestFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What reached the guest: its lost pages, whether it must act, and whether a vCPU stopped in the middle of a load
    from one of them (``consumed``).
    """

    pages: tuple[GuestFrame, ...]
    must_act: bool
    consumed: bool


class Reply(StrEnum):
    """What a guest answers, if it does."""

    HEALED = "healed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What the guest will do. Times are milliseconds that it runs before it does so.

    ``reply`` None: it never answers. ``leaves_ms``: when it clears MCIP of a vMCE, None for never. ``touches_ms``: when
    it reads the lost page again, None for never. ``crashes``: at ``after_ms``, instead of an answer. ``calls``:
    hypercalls that it has no right to and makes all the same.
    """

    after_ms: int
    reply: Reply | None
    leaves_ms: int | None
    touches_ms: int | None = None
    crashes: bool = False
    calls: int = 0


class GuestBehaviour(Protocol):
    """A pure function of what the guest was told, and of chance."""

    def __call__(self, notice: Notice, random: Random, /) -> Reaction:
        """What the guest will do."""
        ...


Span = tuple[int, int]
"""From and to, both included, milliseconds: chance picks one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """A behaviour as data. ``leaves_ms`` None: it stays in the machine check for ever."""

    says: str
    """What it does, for people."""
    after_ms: Span
    reply: Reply | None
    leaves_ms: Span | None = (1, 2)
    touches_ms: Span | None = None
    crashes: bool = False
    calls: int = 0

    def __call__(self, notice: Notice, random: Random, /) -> Reaction:
        """What the guest will do; where it need not act, it takes note at once and does nothing but flood or lie."""
        after_ms = random.randint(*self.after_ms)
        leaves_ms = None if self.leaves_ms is None else random.randint(*self.leaves_ms)
        touches_ms = None if self.touches_ms is None else random.randint(*self.touches_ms)
        if not notice.must_act:
            return Reaction(after_ms=0, reply=Reply.HEALED, leaves_ms=1, calls=self.calls)
        return Reaction(
            after_ms=after_ms,
            reply=self.reply,
            leaves_ms=leaves_ms,
            touches_ms=touches_ms,
            crashes=self.crashes,
            calls=self.calls,
        )


BEHAVIOURS: Final[Mapping[str, GuestBehaviour]] = MappingProxyType(
    {
        "heals": Habit(
            says="takes the page out of use, refetches what it held, and goes on",
            after_ms=(1, 20),
            reply=Reply.HEALED,
        ),
        "kills-process": Habit(
            says="kills the process that had the page, and no other", after_ms=(2, 50), reply=Reply.HEALED
        ),
        "refuses": Habit(says="cannot do without the page, and says so", after_ms=(1, 20), reply=Reply.REFUSED),
        "ignores": Habit(
            says="does nothing, and reads the page again sooner or later",
            after_ms=(0, 0),
            reply=None,
            touches_ms=(10, 10_000),
        ),
        "slow": Habit(
            says="heals, long after any deadline",
            after_ms=(5_000, 30_000),
            reply=Reply.HEALED,
            leaves_ms=(5_000, 30_000),
        ),
        "crashes": Habit(says="its handler panics", after_ms=(1, 20), reply=None, leaves_ms=None, crashes=True),
        "lies": Habit(
            says="says that it healed, and reads the page again",
            after_ms=(1, 2),
            reply=Reply.HEALED,
            touches_ms=(5, 5_000),
        ),
        "floods": Habit(
            says="heals, and calls the hypervisor with everything that a guest may not do",
            after_ms=(1, 20),
            reply=Reply.HEALED,
            calls=256,
        ),
    }
)
"""All behaviours, by name."""
