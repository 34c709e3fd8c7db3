"""Telling systemd how the service is: sd_notify(3), written by hand over its datagram socket.

The protocol is stable and small: lines ``NAME=value`` in one datagram to the socket that ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ringfence.errors import SourceError

LEAST_STUCK_S: Final = 1.0
"""Silence that says nothing yet: who has nothing to do wakes four times in it."""


@dataclass(frozen=True, slots=True)
class Notifier:
    """``address`` of the socket, empty where nobody listens: then nothing is sent.

    ``watchdog_s``: systemd kills a service that is silent for so long; None without a watchdog.
    """

    address: str = ""
    watchdog_s: float | None = None

    @classmethod
    def of_environment(cls, given: Mapping[str, str] = os.environ, pid: int | None = None) -> Notifier:
        """As ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` say (sd_notify(3), sd_watchdog_enabled(3)).

        Raises SourceError for an address that is neither a path nor abstract: systemd knows vsock and others, too.
        """
        address = given.get("NOTIFY_SOCKET", "")
        if address and not address.startswith(("/", "@")):
            advice = "Unset NOTIFY_SOCKET, or use a unix socket."
            raise SourceError("NOTIFY_SOCKET", f"{address!r} is no unix socket", advice=advice)
        mine = given.get("WATCHDOG_PID", "") in {"", str(pid if pid is not None else os.getpid())}
        usec = given.get("WATCHDOG_USEC", "")
        watchdog_s = int(usec) / 1e6 if mine and usec.isdecimal() and int(usec) > 0 else None
        return cls(address, watchdog_s if address else None)

    def _send(self, *lines: str) -> None:
        if not self.address:
            return
        # An abstract address begins with a zero byte; systemd writes "@" for it.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.setblocking(False)
                to.connect(address)
                to.send("\n".join(lines).encode())
        except OSError:
            # Whoever does not listen is not told: the service does not end over it (sd_notify(3): ignore the result).
            return

    def ready(self, status: str) -> None:
        """The service serves (again, after ``reloading``)."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        """A sentence for ``systemctl status``."""
        self._send(f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """The configuration is being read anew; ``ready`` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service ends in order."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The watchdog's sign of life."""
        self._send("WATCHDOG=1")


async def watch(notifier: Notifier, beat_s: Callable[[], float]) -> None:
    """Feed the watchdog twice in its period, as long as what it watches lives; for ever, if there is a watchdog.

    ``beat_s`` is when that last showed a sign of life, on the monotonic clock.
    """
    if (period_s := notifier.watchdog_s) is None:
        return
    while True:
        if time.monotonic() - beat_s() < max(period_s, LEAST_STUCK_S):
            notifier.alive()
        await asyncio.sleep(period_s / 2)


def _one_line(text: str) -> str:
    return " ".join(text.split())
