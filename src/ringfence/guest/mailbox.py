"""Messages over two nodes of the xenstore, without I/O: one that the guest writes, and one that the host writes.

A node holds its writer's last message, and what its writer has read of the other's. A message stays in its node until
the other side has read it; then the next one takes its place. So nothing is lost however seldom either side looks, and
nothing waits in the xenstore but one message each way. Whoever starts anew has another session number: the other side
sees that, and begins anew as well.

    <session, 8 hex digits> <number of the message> <other's session> <number read last>\\n<message>
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

GUEST_NODE: Final = "data/ringfence/guest"
"""Below /local/domain/N, where a guest may write (libxl makes ``data`` its own); a guest names it just so."""
HOST_NODE: Final = "data/ringfence/host"
MOST_QUEUED: Final = 64
"""Messages that wait for the other side to read; the oldest go first, and whoever wrote them says them again."""
MOST_NUMBER: Final = (1 << 32) - 1

_HEAD: Final = re.compile(rb"([0-9a-f]{8}) ([0-9]{1,10}) ([0-9a-f]{8}) ([0-9]{1,10})\n", re.ASCII)


class Mailbox:
    """One side of it. ``session`` is a random number of 32 bits other than 0."""

    def __init__(self, session: int) -> None:
        self._session = session & MOST_NUMBER or 1
        self._number = 0
        self._message = b""
        self._queue: deque[bytes] = deque(maxlen=MOST_QUEUED)
        self._other = 0
        self._read = 0
        self._is_new = False
        self.bad = 0
        """How often the other's node was not what it should be."""

    @property
    def knows_other(self) -> bool:
        """Whether the other side has ever been there."""
        return self._other != 0

    @property
    def node(self) -> bytes:
        """What is to stand in this side's node now."""
        return b"%08x %d %08x %d\n" % (self._session, self._number, self._other, self._read) + self._message

    def put(self, message: bytes) -> None:
        """Say a message as soon as those before it are read."""
        self._queue.append(message)
        if not self._message:
            self._next()

    def begins_anew(self) -> bool:
        """Whether the other side has begun anew since the last look (or is there for the first time): what was not read
        by then is not said any more.
        """
        is_new, self._is_new = self._is_new, False
        return is_new

    def look(self, node: bytes) -> bytes | None:
        """The message in the other's node, None if there is no new one. Ask ``begins_anew`` before it is used."""
        found = _HEAD.match(node)
        if found is None:
            self.bad += 1
            return None
        session, number, mine, read = int(found[1], 16), int(found[2]), int(found[3], 16), int(found[4])
        if session == 0 or number > MOST_NUMBER or read > MOST_NUMBER:
            self.bad += 1
            return None
        if session != self._other:
            answers = self._other == 0 and mine == self._session
            self._other, self._read = session, 0
            if not answers:
                self._is_new = True
                self._queue.clear()
                self._message = b""
        if mine == self._session and read == self._number and self._message:
            self._next()
        message = node[found.end() :]
        # What was said to an earlier session of this side is not for this one.
        if not message or number == self._read or mine not in {0, self._session}:
            return None
        self._read = number
        return message

    def _next(self) -> None:
        self._message = b""
        if self._queue:
            self._message = self._queue.popleft()
            self._number = self._number % MOST_NUMBER + 1
