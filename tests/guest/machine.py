"""A guest's machine for tests: the wire of a virtio-serial port, and the agent as a process at its end."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

WAIT_S = 30.0


def until(what: Callable[[], object], why: str) -> None:
    """Wait until something is so, and fail if it never is."""
    end_s = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end_s, why
        time.sleep(0.01)


class Wire:
    """What QEMU does between a port's socket and the guest: it passes bytes on, and hangs up when one side does."""

    def __init__(self, home: Path) -> None:
        self.host, self.guest = home / "host.sock", home / "guest.sock"
        self._listening = [self._listen(path) for path in (self.host, self.guest)]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        for each in self._listening:
            each.close()

    @staticmethod
    def _listen(path: Path) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(str(path))
        made.listen()
        return made

    def _serve(self) -> None:
        while not self._ends.is_set():
            ends: list[socket.socket] = []
            for each in self._listening:
                while not self._ends.is_set() and not select.select([each], [], [], 0.05)[0]:
                    pass
                if not self._ends.is_set():
                    ends.append(each.accept()[0])
            with suppress(OSError):
                while not self._ends.is_set() and len(ends) == 2:
                    for each in select.select(ends, [], [], 0.05)[0]:
                        data = each.recv(4096)
                        if not data:
                            raise OSError("hung up")
                        ends[1 - ends.index(each)].sendall(data)
            for each in ends:
                each.close()


@contextmanager
def wire(home: Path) -> Iterator[Wire]:
    made = Wire(home)
    try:
        yield made
    finally:
        made.close()


class Process:
    """The agent as a process; ``said`` are its JSON lines so far."""

    def __init__(self, root: Path, transport: str, *words: str) -> None:
        self._log = root.parent / "agent.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.guest.kernel", str(root), transport, *words], stdout=log, stderr=log
            )

    @property
    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.said if each["event"] == kind]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(WAIT_S)


@contextmanager
def agent(root: Path, transport: str, *words: str) -> Iterator[Process]:
    made = Process(root, transport, *words)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait(WAIT_S)
