"""``ringfence run`` as a real process, and a client that speaks to its socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.service import control_protocol as say

T = TypeVar("T")
RINGFENCE = Path(sys.executable).with_name("ringfence")
PATIENCE_S = 60.0
NO_CONFIG = {"RINGFENCE_CONFIG": "/no/such/ringfence.toml"}
"""Whatever this machine is configured with."""

ASKING = """
based_on = "quiet"
policy_text = '''
approve = ["destroy"]
[otherwise]
on_ue = "operate"
on_srar = "operate"
operations = ["destroy"]
'''
[units]
[memory.read]
guest = 1000.0
foreign = 1000.0
granted = 1000.0
[memory."written back"]
guest = 1000.0
foreign = 1000.0
granted = 1000.0
"""
"""Guests lose pages, more than one a second, and a person must approve what is done about it."""

CORRECTED = """
based_on = "corrected"
mishaps = {}
[memory.corrected]
guest = 1000.0
granted = 1000.0
foreign = 1000.0
device = 1000.0
"""
"""Corrected errors alone, about one a second."""


def until(what: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """What ``what`` gives as soon as it gives anything true."""
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


class Client:
    """One connection to the control socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")

    def send(self, line: bytes) -> None:
        self.socket.sendall(line)

    def read(self) -> say.Reply | None:
        """The next reply, None at the end of the connection."""
        line = self.file.readline()
        return say.reply_of(line) if line else None

    def ask(self, request: say.Request) -> say.Reply:
        self.send(say.line_of(request))
        reply = self.read()
        assert reply is not None
        return reply

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def client(path: Path) -> Iterator[Client]:
    connected = Client(path)
    try:
        yield connected
    finally:
        connected.close()


@dataclass
class Service:
    """``ringfence run`` on a state directory of its own. The socket has a short path, as sockets must."""

    state: Path
    socket: Path
    arguments: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self, *more: str, wait: bool = True) -> subprocess.Popen[str]:
        command = [str(RINGFENCE), "run", "--hypervisor", "model", "--state-dir", str(self.state)]
        command += ["--socket", str(self.socket), *self.arguments, *more]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **NO_CONFIG, **self.env},
        )
        if wait:
            until(self.answers)
        return self.process

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(self.process.communicate()[0])
        try:
            self.health()
        except OSError:
            return False
        return True

    def ask(self, request: say.Request) -> say.Reply:
        with client(self.socket) as connected:
            return connected.ask(request)

    def health(self) -> say.Health:
        reply = self.ask(say.Status())
        assert isinstance(reply, say.Health), reply
        return reply

    def approvals(self) -> tuple[say.ApprovalLine, ...]:
        reply = self.ask(say.Approvals())
        assert isinstance(reply, say.ApprovalList)
        return reply.approvals

    def journal(self) -> list[ev.Stored]:
        with Reader(self.state / "journal.sqlite") as reader:
            return [event for _, event in reader.events()]

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, and wait for the end: the exit code and all that was said."""
        assert self.process is not None
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.communicate()


@contextmanager
def service(*arguments: str, scenario: str | None = None, env: dict[str, str] | None = None) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="rf") as directory:
        root = Path(directory)
        if scenario is not None:
            (root / "scenario.toml").write_text(scenario)
            arguments = (*arguments, "--scenario", str(root / "scenario.toml"))
        made = Service(root / "state", root / "s", arguments, env or {})
        try:
            yield made
        finally:
            made.close()
