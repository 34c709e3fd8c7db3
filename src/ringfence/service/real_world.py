"""A host that is really there: time passes by itself, and who has something to tell wakes the writer."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from ringfence.decision.policy import Policy
from ringfence.hypervisor.port import Hypervisor

MOST_WAIT_S: Final = 1.0
"""The host is looked at so often even if nothing wakes: domains come and go without a word."""
BUSY_WAIT_S: Final = 0.1
"""While an operation runs whose end is to be seen."""
LEAST_PAUSE_S: Final = 0.005
"""Between two wakings for the same thing: the writer takes it meanwhile."""


class RealHost(Hypervisor, Protocol):
    """A backend on real hardware. ``ready`` is a file that becomes readable when something has come."""

    @property
    def ready(self) -> int:
        """The file's descriptor."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether an operation runs whose end nothing announces."""
        ...

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong now with what it goes by, a sentence each."""
        ...


class RealWorld:
    """The writer's world on a real host. ``wake`` has the writer look at once; it is called by a thread of its own.
    ``ended`` is called at the end: what belongs to the host ends, too.
    """

    def __init__(self, host: RealHost, wake: Callable[[], None], ended: Callable[[], None] = lambda: None) -> None:
        self._host, self._wake, self._ended = host, wake, ended
        self._over, self._end = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name="host", daemon=True)
        self._thread.start()

    @property
    def host(self) -> Hypervisor:
        """As ``writer.World.host``."""
        return self._host

    @property
    def reset_ms(self) -> int | None:
        """As ``writer.World.reset_ms``: who runs here has not halted."""
        return None

    @property
    def problems(self) -> tuple[str, ...]:
        """As ``RealHost.problems``, for the service's health."""
        return self._host.problems

    def wait_s(self, wake_ms: int | None) -> float:
        """As ``writer.World.wait_s``."""
        most_s = BUSY_WAIT_S if self._host.is_busy else MOST_WAIT_S
        if wake_ms is None:
            return most_s
        return min(most_s, max(0.0, (wake_ms - self._host.now_ms()) / 1000))

    def go_on(self) -> bool:
        """As ``writer.World.go_on``: what is due has happened by itself."""
        return False

    def reload(self, policy: Policy) -> None:
        """As ``writer.World.reload``: there is no seat of ours in the hypervisor."""

    def close(self) -> None:
        """As ``writer.World.close``."""
        os.close(self._end)
        self._thread.join()
        os.close(self._over)
        self._ended()

    def _watch(self) -> None:
        while self._over not in select.select([self._host.ready, self._over], [], [])[0]:
            self._wake()
            time.sleep(LEAST_PAUSE_S)
