"""QEMU's machine protocol over a unix socket: one client, commands one at a time, events as they come.

Source: QEMU docs/interop/qmp-spec.rst; qapi/control.json, run-state.json (MEMORY_FAILURE), misc.json. A QMP socket
serves one client: while Ringfence holds it nobody else gets a greeting.

All that comes is QEMU's, which a guest may have taken over: a line is bounded, and what is no message ends the talk.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

LINE_BYTES: Final = 1 << 20
"""Of one message; ``info mtree -f`` of a large machine is some 100 KiB."""
CONNECT_S: Final = 3.0
"""For the greeting: a socket that another client holds gives none."""
ANSWER_S: Final = 10.0
"""For an answer: QEMU's main loop gives it, which a stuck device may hold up."""


_Shape = TypeVar("_Shape")


class QmpError(Exception):
    """QEMU refused a command (``refused``), or cannot be talked to."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class _Error(msgspec.Struct):
    desc: str = ""


class _Flags(msgspec.Struct, rename={"action_required": "action-required"}):
    action_required: bool = False
    recursive: bool = False


class MemoryFailure(msgspec.Struct):
    """The data of a MEMORY_FAILURE event: no address, no severity."""

    recipient: str = ""
    action: str = ""
    flags: _Flags = msgspec.field(default_factory=_Flags)


class _Message(msgspec.Struct):
    """Any message: greeting, answer, or event."""

    QMP: msgspec.Raw = msgspec.Raw()
    event: str = ""
    data: msgspec.Raw = msgspec.Raw()
    id: int | None = None
    error: _Error | None = None
    result: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="return")


class _Named(msgspec.Struct):
    """Answers to query-name and query-uuid."""

    name: str = ""
    UUID: str = ""


class _Status(msgspec.Struct):
    status: str = ""


class _Cpu(msgspec.Struct):
    pass


class _Memory(msgspec.Struct, rename={"base": "base-memory", "plugged": "plugged-memory"}):
    base: int = 0
    plugged: int = 0


class _Version(msgspec.Struct):
    major: int = 0
    minor: int = 0
    micro: int = 0


class _Versions(msgspec.Struct):
    qemu: _Version = msgspec.field(default_factory=_Version)


class Qmp:
    """A talk with one QEMU. ``heard`` gets name and data of each event, in the talk's own thread; ``ended`` is called
    once when it is over. Raises QmpError if it cannot be begun.
    """

    def __init__(
        self, path: Path, heard: Callable[[str, bytes], None], ended: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self._heard, self._ended = heard, ended
        self._one_at_a_time = threading.Lock()
        self._answered = threading.Condition()
        self._answer: _Message | None = None
        self._number = 0
        self.is_over = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray()
        try:
            self._socket.settimeout(CONNECT_S)
            self._socket.connect(str(path))
            self.pid = _peer(self._socket)
            if not self._line().QMP:
                raise QmpError(f"{path}: this is no QMP socket")
            self._socket.sendall(b'{"execute": "qmp_capabilities", "id": 0}\n')
            until_s = time.monotonic() + CONNECT_S
            while (answer := self._line()).id is None:  # an event
                if time.monotonic() > until_s:
                    raise QmpError(f"{path}: events without end, and no answer")
            if answer.error is not None:
                raise QmpError(f"{path}: {answer.error.desc}")
            self._socket.settimeout(None)
        except TimeoutError as error:
            self._socket.close()
            raise QmpError(f"{path}: no greeting within {CONNECT_S:g} s: another client holds this socket") from error
        except (OSError, QmpError) as error:
            self._socket.close()
            raise error if isinstance(error, QmpError) else QmpError(f"{path}: {error.strerror or error}") from error
        threading.Thread(target=self._listen, name=f"qmp {path.name}", daemon=True).start()

    def close(self) -> None:
        """Hang up."""
        self.is_over = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    # --- commands ----------------------------------------------------------------------------------------------------

    def execute(self, command: str, arguments: dict[str, str] | None = None) -> bytes:
        """What QEMU returns, as JSON. Raises QmpError; blocks up to ``ANSWER_S``."""
        with self._one_at_a_time:
            self._number += 1
            said = {"execute": command, "id": self._number, **({"arguments": arguments} if arguments else {})}
            with self._answered:
                self._answer = None
                try:
                    self._socket.sendall(msgspec.json.encode(said) + b"\n")
                except OSError as error:
                    raise QmpError(f"{self.path}: {error.strerror or error}") from error
                self._answered.wait_for(lambda: self._answer is not None or self.is_over, ANSWER_S)
                answer = self._answer
        if answer is None:
            why = "QEMU has hung up" if self.is_over else f"no answer within {ANSWER_S:g} s"
            raise QmpError(f"{self.path}: {command}: {why}")
        if answer.error is not None:
            raise QmpError(f"{command}: {answer.error.desc}", refused=True)
        return bytes(answer.result)

    def human(self, command: str) -> str:
        """What the human monitor answers."""
        return _read(self.execute("human-monitor-command", {"command-line": command}), str)

    @property
    def name(self) -> str:
        """The guest's name, empty without one."""
        return _read(self.execute("query-name"), _Named).name

    @property
    def uuid(self) -> str:
        """Its UUID; all zeros without one."""
        return _read(self.execute("query-uuid"), _Named).UUID

    @property
    def status(self) -> str:
        """RunState: "running", "paused", "prelaunch", ..."""
        return _read(self.execute("query-status"), _Status).status

    @property
    def vcpus(self) -> int:
        """How many virtual CPUs it has."""
        return len(_read(self.execute("query-cpus-fast"), list[_Cpu]))

    @property
    def memory_bytes(self) -> int:
        """How much memory it has."""
        found = _read(self.execute("query-memory-size-summary"), _Memory)
        return found.base + found.plugged

    @property
    def version(self) -> str:
        """QEMU's version."""
        found = _read(self.execute("query-version"), _Versions).qemu
        return f"{found.major}.{found.minor}.{found.micro}"

    # --- in its thread -----------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            with suppress(OSError, QmpError):  # it is over then, by whosever doing
                while not self.is_over:
                    self._took(self._line())
        finally:
            self.is_over = True
            self._socket.close()
            with self._answered:
                self._answered.notify_all()
            self._ended()

    def _took(self, message: _Message) -> None:
        if message.event:
            self._heard(message.event, bytes(message.data))
        elif message.id == self._number:
            with self._answered:
                self._answer = message
                self._answered.notify_all()

    def _line(self) -> _Message:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_BYTES:
                raise QmpError(f"{self.path}: a message without an end")
            data = self._socket.recv(1 << 16)
            if not data:
                raise QmpError(f"{self.path}: QEMU has hung up")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return _read(line, _Message)


def _read(raw: bytes, kind: type[_Shape]) -> _Shape:
    """A message or a part of one. Raises QmpError if it is none."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise QmpError(f"QEMU says what is not understood: {bytes(raw[:80])!r}: {error}") from error


def memory_failure(data: bytes) -> MemoryFailure | None:
    """The data of a MEMORY_FAILURE event; None if it is not understood."""
    try:
        return _read(data, MemoryFailure)
    except QmpError:
        return None


def _peer(connection: socket.socket) -> int:
    """The process at the other end (unix(7), SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(raw[:4], "little")
