"""Commands and files on a machine of the lab, through the agent on its second serial port."""

from __future__ import annotations

import base64
import json
import shlex
import socket
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from lab.debian import LabError
from lab.machine import Machine

CHUNK_BYTES: Final = 12_000
"""Of a file in one request: a line of 16 KB passes the kernel's buffer of a serial port (64 KB) in one go."""
RUN_S: Final = 60.0
SILENT_S: Final = 20.0
"""Over what a command may take: then the request is sent again, and answered from what is kept."""


class _Answer(msgspec.Struct):
    code: int | None = None
    out: str = ""
    err: str = ""
    data: str = ""
    error: str = ""


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to: ``code`` is None if it was ended for taking too long."""

    code: int | None
    out: str
    err: str


class Remote:
    """The agent of one machine. One client at a time."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(machine.home / "com2"))
        self._held = b""
        self._number = int(time.time() * 1000) % 1_000_000_000

    def close(self) -> None:
        """Hang up: another client can come."""
        self._socket.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, command: str | list[str], *, given: bytes = b"", timeout_s: float = RUN_S) -> Done:
        """Run a command (a text goes through a shell); its code and output. Raises LabError if nobody answers."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        asked = {"run": words, "input": base64.b64encode(given).decode(), "timeout_s": timeout_s}
        answer = self._ask(asked, timeout_s)
        return Done(answer.code, _text(answer.out), _text(answer.err))

    def forget(self, command: str) -> None:
        """Begin a command whose end nobody sees, as it ends the machine."""
        self._number += 1
        body = base64.b64encode(json.dumps({"run": ["/bin/sh", "-c", command], "timeout_s": RUN_S}).encode())
        self._socket.sendall(b"\n>%d %08x %s\n" % (self._number, zlib.crc32(body), body))

    def must(self, command: str | list[str], *, given: bytes = b"", timeout_s: float = RUN_S) -> str:
        """As ``run``, for its output. Raises LabError if it fails."""
        done = self.run(command, given=given, timeout_s=timeout_s)
        if done.code != 0:
            words = command if isinstance(command, str) else shlex.join(command)
            end = "took too long" if done.code is None else f"ended with {done.code}"
            raise LabError(f"{words}: {end}\n{done.out[-2000:]}{done.err[-2000:]}")
        return done.out

    def write(self, path: str, data: bytes) -> None:
        """Put a file there."""
        for start in range(0, max(1, len(data)), CHUNK_BYTES):
            chunk = base64.b64encode(data[start : start + CHUNK_BYTES]).decode()
            self._ask({"write": path, "data": chunk, "more": start > 0}, RUN_S)

    def read(self, path: str, most: int = 1 << 24) -> bytes:
        """A file from there."""
        data = b""
        while len(data) < most:
            asked = {"read": path, "offset": len(data), "size": CHUNK_BYTES}
            chunk = base64.b64decode(self._ask(asked, RUN_S).data)
            if not chunk:
                break
            data += chunk
        return data

    def talk(self, path: str, line: str, timeout_s: float) -> str:
        """Send a line to a socket of the machine: the line that comes back, nothing if none comes in time."""
        return _text(self._ask({"talk": path, "line": line, "timeout_s": timeout_s}, timeout_s).out)

    def _ask(self, asked: dict[str, object], timeout_s: float) -> _Answer:
        self._number += 1
        body = base64.b64encode(json.dumps(asked).encode())
        line = b"\n>%d %08x %s\n" % (self._number, zlib.crc32(body), body)
        for _ in range(3):
            self._socket.sendall(line)
            end_s = time.monotonic() + timeout_s + SILENT_S
            while (raw := self._line(end_s)) is not None:
                if raw.strip() == b"?":
                    break
                answer = _reply(raw, self._number)
                if answer is not None:
                    if answer.error:
                        raise LabError(answer.error)
                    return answer
            if self._machine.pid is None:
                break
        raise LabError(f"the machine does not answer; its console:\n{self._machine.said()[-3000:]}")

    def _line(self, end_s: float) -> bytes | None:
        while b"\n" not in self._held:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return None
            self._socket.settimeout(left_s)
            try:
                more = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            if not more:
                return None
            self._held += more
        line, self._held = self._held.split(b"\n", 1)
        return line


def _reply(raw: bytes, number: int) -> _Answer | None:
    try:
        mark, crc, body = raw[raw.rindex(b"<") + 1 :].split()
        if int(mark) != number or zlib.crc32(body) != int(crc, 16):
            return None
        return _ANSWERS.decode(base64.b64decode(body))
    except (ValueError, msgspec.DecodeError):
        return None


def _text(packed: str) -> str:
    return base64.b64decode(packed).decode("utf-8", "replace")


AGENT: Final = Path(__file__).with_name("agent.py")
