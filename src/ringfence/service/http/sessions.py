"""Sessions of browsers: begun with a token, held by a cookie that scripts cannot read, ended by time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from typing import Final

from ringfence.service.http.tokens import Token

COOKIE: Final = "ringfence-session"
CSRF_HEADER: Final = "x-csrf-token"
"""What a page must say with every change: another site's page can send the cookie's request, but cannot read this."""
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Session:
    """One browser's session. Times are seconds on a monotonic clock."""

    token: Token
    csrf: str
    began_s: float
    used_s: float


@dataclass(slots=True)
class Sessions:
    """``most`` sessions at a time, each for ``longest_s``, or ``idle_s`` without a request. They end with the process.

    Of a cookie only the hash is kept: what is in memory opens nothing.
    """

    most: int
    longest_s: float
    idle_s: float
    _known: dict[str, Session] = field(default_factory=dict)

    def begin(self, token: Token, now_s: float) -> tuple[str, Session]:
        """A new session and its cookie. When there are too many, the one that was used least lately ends."""
        cookie = secrets.token_urlsafe(_BYTES)
        session = Session(token, secrets.token_urlsafe(_BYTES), now_s, now_s)
        self._known[_digest(cookie)] = session
        while len(self._known) > self.most:
            del self._known[next(iter(self._known))]
        return cookie, session

    def of(self, cookie: str, now_s: float) -> Session | None:
        """The session of a cookie; it counts as used."""
        key = _digest(cookie)
        found = self._known.pop(key, None)
        if found is None or now_s - found.began_s > self.longest_s or now_s - found.used_s > self.idle_s:
            return None
        used = self._known[key] = replace(found, used_s=now_s)  # the one used last stands last
        return used

    def end(self, cookie: str) -> None:
        """A session ends."""
        self._known.pop(_digest(cookie), None)

    def __len__(self) -> int:
        return len(self._known)


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()


def is_csrf(session: Session, said: str) -> bool:
    """Whether a request says what only a page of ours knows."""
    return hmac.compare_digest(session.csrf.encode(), said.encode("utf-8", "surrogateescape"))
