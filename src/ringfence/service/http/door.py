"""The door: who comes in, by what they show, and how often."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

from ringfence.service.http.bounds import Bounds
from ringfence.service.http.problems import Problem, problem
from ringfence.service.http.rates import Rates, whole_s
from ringfence.service.http.sessions import Sessions
from ringfence.service.http.tokens import FILE, Tokens

_WRONG_TOKEN: Final = problem(
    HTTPStatus.UNAUTHORIZED,
    "this token is not known, or its time is over",
    "ringfence token list shows which there are; ringfence token create makes one.",
)


@dataclass(slots=True)
class Counted:
    """What has happened at the door, since the process began."""

    requests: int = 0
    refused: int = 0
    turned_away: int = 0
    too_often: int = 0
    wrong_tokens: int = 0
    slow: int = 0
    faults: int = 0
    connections: int = 0
    followers: int = 0


@dataclass(slots=True)
class Door:
    """What is known of clients. Its clocks are ``monotonic_s`` for spans and ``wall_ms`` for the ends of tokens."""

    bounds: Bounds
    tokens: Tokens
    sessions: Sessions
    rates: Rates
    wrong: Rates
    changes: Rates
    reading: asyncio.Semaphore
    counted: Counted = field(default_factory=Counted)
    following: dict[str, int] = field(default_factory=dict)
    trying: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a policy is tried: one at a time."""

    @classmethod
    def of(cls, state_dir: Path, bounds: Bounds) -> Self:
        """The door of a service, with its tokens' file in the state directory."""
        return cls(
            bounds=bounds,
            tokens=Tokens(state_dir / FILE),
            sessions=Sessions(bounds.sessions, bounds.session_s, bounds.session_idle_s),
            rates=Rates(bounds.rate_per_s, bounds.burst, bounds.clients),
            wrong=Rates(bounds.wrong_per_s, bounds.wrong_burst, bounds.clients),
            changes=Rates(bounds.change_per_s, bounds.change_burst, bounds.clients),
            reading=asyncio.Semaphore(bounds.readers),
        )

    @staticmethod
    def monotonic_s() -> float:
        """Seconds on a clock that is never set."""
        return time.monotonic()

    @staticmethod
    def wall_ms() -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def wrong_token(self, key: str) -> Problem:
        """Somebody showed a token that is none: 401, and 429 for who does so too often.

        A right token is good all the same: whoever shares an address with somebody who guesses is not locked out, and
        256 bits are not guessed.
        """
        self.counted.wrong_tokens += 1
        wait_s = self.wrong.take(key, self.monotonic_s())
        return self.too_often(wait_s) if wait_s else _WRONG_TOKEN

    def too_often(self, wait_s: float) -> Problem:
        """Somebody came too often."""
        self.counted.too_often += 1
        detail = "too many requests in too short a time"
        return problem(HTTPStatus.TOO_MANY_REQUESTS, detail, "Come again later.", retry_after_s=whole_s(wait_s))

    def follow(self, key: str) -> bool:
        """One more stream of a client; False if it, or all together, have too many. Ended by ``unfollow``."""
        mine = self.following.get(key, 0)
        if self.counted.followers >= self.bounds.followers or mine >= self.bounds.followers_each:
            return False
        self.following[key] = mine + 1
        self.counted.followers += 1
        return True

    def unfollow(self, key: str) -> None:
        """A stream has ended."""
        self.counted.followers -= 1
        self.following[key] -= 1
        if not self.following[key]:
            del self.following[key]
