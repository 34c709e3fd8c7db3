"""Every bound that an HTTP client meets, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_EVENTS: Final = 1_000
"""Of one page: a megabyte at most. ``after`` goes on from there."""
MOST_SCANNED: Final = 20_000
"""Events that one request looks at for those that it wants: some tenths of a second in a thread of its own."""
HEARTBEAT_S: Final = 15.0
"""Between two signs of life of a stream: less than the half minute after which proxies give a connection up."""
MOST_POLICY_CHARACTERS: Final = 1 << 16
"""Of a policy to be tried: the shipped one with all its words has a tenth of that."""
BODY_BYTES: Final = 1 << 14
"""Of a request's body: those that mean anything have a hundredth of that."""
POLICY_BODY_BYTES: Final = MOST_POLICY_CHARACTERS * 12 + BODY_BYTES
"""Of a policy to be tried: JSON may need twelve bytes for a character (RFC 8259, 7: two escapes of six)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one server holds to. Times are seconds.

    ``connections`` are at a time, at each place that is listened at: whoever fills loopback up does not lock out who
    comes by a unix socket. ``followers`` of streams are among them, ``followers_each`` of one client.

    ``first_s`` is from the connection to the end of the first request's head, with a handshake of TLS in it; ``body_s``
    is for a body, ``idle_s`` between two requests, ``slow_s`` for which a client may leave unread what was sent to it.

    ``rate_per_s`` requests with a ``burst`` are a client's, who is a token, or an address as long as it has shown none;
    wrong tokens of an address have a budget of their own, and so have changes (``change_per_s``), each of which the
    journal keeps. ``clients`` are the ones whose rate is remembered. ``readers`` of the journal work at a time: they
    compute while the writer wants to.
    """

    connections: int = 128
    followers: int = 32
    followers_each: int = 8
    head_bytes: int = 8_190
    headers: int = 64
    first_s: float = 10.0
    body_s: float = 10.0
    idle_s: float = 60.0
    slow_s: float = 10.0
    buffer_bytes: int = 1 << 16
    rate_per_s: float = 20.0
    burst: int = 100
    wrong_per_s: float = 0.1
    wrong_burst: int = 10
    change_per_s: float = 1.0
    change_burst: int = 30
    clients: int = 4_096
    readers: int = 2
    sessions: int = 256
    session_s: float = 12 * 3_600.0
    session_idle_s: float = 3_600.0


BOUNDS: Final = Bounds()
"""What holds unless a test makes it narrower."""
