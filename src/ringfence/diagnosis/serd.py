"""How often is too often: soft error rate discrimination (SERD), N errors within T, and the leaky bucket, as values.

A rule says how many errors within what time are too many; a state is what it must remember, at most ``n`` entries
however many errors come. ``fold`` is pure and knows no clock: the time of an error is an argument. Once fired an engine
stays so until ``NEW`` takes the place of its state (illumos fmd does the same, usr/src/cmd/fm/fmd/common/fmd_serd.c).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Engine(StrEnum):
    """How errors are held against time."""

    WINDOW = "window"
    """Fires when ``n`` errors lie within ``window_s`` of the newest one (SERD)."""
    BUCKET = "bucket"
    """Fires when the bucket holds ``n``; ``n`` a window flow out, but nothing before a whole window has gone by
    (mcelog leaky-bucket.c, rasdaemon ras-page-isolation.c): two bursts in neighbouring windows add up here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerdRule:
    """``n`` errors within ``window_s`` seconds fire it. ``distinct``: they must have different syndromes (B.8)."""

    name: str
    n: int
    window_s: int
    source: str
    engine: Engine = Engine.WINDOW
    distinct: bool = False

    @property
    def window_ms(self) -> int:
        """The window in milliseconds."""
        return self.window_s * 1000


_H: Final = 3600
_DAY: Final = 24 * _H
_WEEK: Final = 7 * _DAY
_ESC: Final = "illumos usr/src/cmd/fm/eversholt/files/i386/i86pc"
_MORE_THAN_N: Final = "fmd_serd.c fires when there are more than N"

KNOWN: Final[tuple[SerdRule, ...]] = (
    SerdRule(
        name="mcelog page", n=2, window_s=_DAY, engine=Engine.BUCKET,
        source="mcelog mcelog.conf, [page] memory-ce-threshold = 2 / 24h",
    ),
    SerdRule(
        name="mcelog page of old", n=10, window_s=_DAY, engine=Engine.BUCKET,
        source="mcelog mcelog.conf before cb52c86 (Reduce default threshold for corrected error page offline)",
    ),
    SerdRule(
        name="mcelog DIMM", n=10, window_s=_DAY, engine=Engine.BUCKET,
        source="mcelog mcelog.conf, [dimm] ce-error-threshold = 10 / 24h (DDR3 of 2009, as it says)",
    ),
    SerdRule(
        name="mcelog socket", n=100, window_s=_DAY, engine=Engine.BUCKET,
        source="mcelog mcelog.conf, [socket] mem-ce-error-threshold = 100 / 24h",
    ),
    SerdRule(
        name="rasdaemon page", n=50, window_s=_DAY, engine=Engine.BUCKET,
        source="rasdaemon misc/rasdaemon.env, PAGE_CE_THRESHOLD, PAGE_CE_REFRESH_CYCLE",
    ),
    SerdRule(
        name="rasdaemon row", n=50, window_s=_DAY, engine=Engine.BUCKET,
        source="rasdaemon misc/rasdaemon.env, ROW_CE_THRESHOLD, ROW_CE_REFRESH_CYCLE",
    ),
    SerdRule(
        name="illumos rank", n=3, window_s=3 * _DAY,
        source=f"{_ESC}/amd64.esc, PAGE_SB_COUNT 2, PAGE_SB_TIME 72h; {_MORE_THAN_N}",
    ),
    SerdRule(
        name="illumos link", n=4, window_s=3 * _DAY,
        source=f"{_ESC}/intel.esc, serd.cpu.intel.quickpath.interconnect N=3, T=72h; {_MORE_THAN_N}",
    ),
    SerdRule(
        name="illumos memory link", n=501, window_s=_WEEK,
        source=f"{_ESC}/intel.esc, serd.cpu.intel.quickpath.mem_link_ce N=500, T=1week; {_MORE_THAN_N}",
    ),
    SerdRule(
        name="syndromes of a rank", n=2, window_s=3 * _DAY, distinct=True,
        source="msg01049 (distinct syndromes of one chip select precede a UE); N and T after illumos amd64.esc",
    ),
)  # fmt: skip
"""What others use, each with its source. Where a source fires at more than N, ``n`` is N + 1.

They do not agree, and say little of why: mcelog went from 10 to 2 a day for a page, rasdaemon stayed at 50."""


@dataclass(frozen=True, slots=True)
class SerdState:
    """What an engine remembers.

    ``recent`` are (milliseconds, errors), oldest first, at most ``n`` of them. ``level`` and ``since_ms`` belong to the
    bucket. ``total`` counts every error that came, exactly. ``fired_ms`` is the time of the error that fired it.
    """

    recent: tuple[tuple[int, int], ...] = ()
    level: int = 0
    since_ms: int = 0
    total: int = 0
    fired_ms: int | None = None

    @property
    def fired(self) -> bool:
        """Whether there were too many."""
        return self.fired_ms is not None


NEW: Final = SerdState()
"""An engine that has seen nothing, or that was reset."""


def fold(rule: SerdRule, state: SerdState, at_ms: int, count: int = 1) -> SerdState:
    """The state after ``count`` errors at ``at_ms`` (any clock that does not change its origin).

    Errors may come in any order: what fires an engine are errors within one window, in whatever order they arrive.
    A count below 1 changes nothing.
    """
    if count < 1:
        return state
    state = replace(state, total=state.total + count)
    after = _window(rule, state, at_ms, count) if rule.engine is Engine.WINDOW else _bucket(rule, state, at_ms, count)
    fires = sum(each for _, each in after.recent) >= rule.n if rule.engine is Engine.WINDOW else after.level >= rule.n
    if state.fired or not fires:
        return replace(after, fired_ms=state.fired_ms)
    return replace(after, fired_ms=at_ms)


def _window(rule: SerdRule, state: SerdState, at_ms: int, count: int) -> SerdState:
    entries = sorted((*state.recent, (at_ms, count)))
    newest = entries[-1][0]
    # More than n entries are n errors at least: it has fired, and the oldest tell nothing any more.
    within = [each for each in entries if each[0] >= newest - rule.window_ms][-rule.n :]
    return replace(state, recent=tuple(within))


def _bucket(rule: SerdRule, state: SerdState, at_ms: int, count: int) -> SerdState:
    since_ms = state.since_ms if state.total > count else at_ms
    gone_ms = at_ms - since_ms
    if gone_ms < rule.window_ms:
        return replace(state, level=state.level + count, since_ms=since_ms)
    flown = gone_ms * rule.n // rule.window_ms
    return replace(state, level=max(0, state.level - flown) + count, since_ms=at_ms)


def fold_all(rule: SerdRule, errors: Iterable[tuple[int, int]]) -> SerdState:
    """The state after (milliseconds, count) pairs."""
    if rule.engine is Engine.BUCKET:
        return _bucket_of(rule, errors)
    state = NEW
    for at_ms, count in errors:
        state = fold(rule, state, at_ms, count)
    return state


def _bucket_of(rule: SerdRule, errors: Iterable[tuple[int, int]]) -> SerdState:
    """What folding them one by one comes to: a year of a DIMM's errors is gone through at each new one."""
    level = since_ms = total = 0
    fired_ms: int | None = None
    for at_ms, count in errors:
        if count < 1:
            continue
        gone_ms = at_ms - since_ms if total else 0
        if gone_ms < rule.window_ms:
            since_ms = since_ms if total else at_ms
            level += count
        else:
            level, since_ms = max(0, level - gone_ms * rule.n // rule.window_ms) + count, at_ms
        total += count
        if fired_ms is None and level >= rule.n:
            fired_ms = at_ms
    return SerdState(level=level, since_ms=since_ms, total=total, fired_ms=fired_ms)
