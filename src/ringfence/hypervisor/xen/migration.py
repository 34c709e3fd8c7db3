"""The other host that guests can be moved to: what the operator configured, looked at before anything is sent there.

``xl migrate -s SHELL DOMAIN HOST`` runs ``SHELL HOST xl migrate-receive`` and speaks with it (tools/xl/xl_migrate.c).
By the same way the host is asked how it is: ``SHELL HOST xl info``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
import time
from typing import Final

from ringfence.world.situation import Destination

LOOK_EVERY_S: Final = 60.0
BELIEVED_S: Final = 180.0
"""Three looks: a host that has not answered so long is not one to send a guest to."""
ANSWER_S: Final = 20.0
"""To log in there and to ask Xen; a host that takes longer would take no guest in time either."""
MOST_BYTES: Final = 1 << 16

_FREE: Final = re.compile(r"^free_memory\s*:\s*(\d{1,9})\s*$", re.MULTILINE)
"""MiB (tools/xl/xl_info.c)."""
_PAGES_PER_MIB: Final = 256


class OtherHost:
    """A host by the name that the shell knows it by. It is looked at by a thread of its own, from ``watch`` on.

    ``pages_per_s`` is what the link carries, as the operator says: nobody measures it.
    """

    def __init__(self, host: str, shell: str, pages_per_s: int) -> None:
        self._host, self._shell, self._pages_per_s = host, shell, pages_per_s
        self._free_pages = 0
        self._seen_s: float | None = None
        self._over = threading.Event()
        self.why = "it has not been looked at yet"
        """Why it is not healthy, in the words of who was asked; empty if it is."""

    @property
    def words(self) -> tuple[str, ...]:
        """Options of ``xl migrate``."""
        return ("-s", self._shell)

    @property
    def pages_per_s(self) -> int:
        """Pages of 4 KiB."""
        return self._pages_per_s

    def destination(self) -> Destination:
        """What was seen when it was looked at last."""
        fresh = self._seen_s is not None and time.monotonic() - self._seen_s <= BELIEVED_S
        return Destination(name=self._host, healthy=fresh, free_pages=self._free_pages if fresh else 0)

    def watch(self) -> None:
        """Look now and then, until ``close``."""
        threading.Thread(target=self._watch, name="other host", daemon=True).start()

    def close(self) -> None:
        """Look no more, once a look that is being taken has ended."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.is_set():
            self.look()
            self._over.wait(LOOK_EVERY_S)

    def look(self) -> None:
        """Ask the host how it is; that it cannot be asked, is an answer."""
        try:
            done = subprocess.run(  # noqa: S603 (what the operator configured for xl itself)
                [*shlex.split(self._shell), self._host, "xl", "info"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_S, check=False,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self.why = f"{self._shell}: {error}"
            return
        except subprocess.TimeoutExpired:
            self.why = f"it has not answered within {ANSWER_S:.0f} s"
            return
        found = _FREE.search(done.stdout[:MOST_BYTES].decode("utf-8", "replace"))
        if done.returncode or found is None:
            said = " ".join(done.stderr[-300:].decode("utf-8", "backslashreplace").split())
            self.why = f"`xl info` there ended with {done.returncode}: {said or 'it said nothing'}"
            return
        self._free_pages = int(found[1]) * _PAGES_PER_MIB
        self._seen_s, self.why = time.monotonic(), ""
