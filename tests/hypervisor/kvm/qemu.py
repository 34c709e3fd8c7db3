"""A QEMU behind a QMP socket, as a test needs it: a real server on a real socket, which says what QEMU 7.2 was heard to
say.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, '
    b'"capabilities": ["oob"]}}\r\n'
)


class Qemu:
    """Answers commands. ``status`` is what the guest does, ``said`` the commands that came; ``human`` has the human
    monitor's answers, ``asked`` what it was asked.
    """

    def __init__(self, path: Path, *, name: str = "plain", uuid: str = "00000000-0000-0000-0000-000000000000") -> None:
        self.path, self.name, self.uuid = path, name, uuid
        self.status = "running"
        self.said: list[str] = []
        self.human: dict[str, str] = {}
        self.asked: list[str] = []
        self.refuses: set[str] = set()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(1)
        self._client: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def event(self, name: str, **data: object) -> None:
        """Say that something has happened."""
        message = {"timestamp": {"seconds": 1, "microseconds": 2}, "event": name, **({"data": data} if data else {})}
        self._send(json.dumps(message).encode() + b"\r\n")

    def raw(self, data: bytes) -> None:
        """Say anything."""
        self._send(data)

    def close(self) -> None:
        """End."""
        for each in (self._client, self._listening):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _send(self, data: bytes) -> None:
        if self._client is not None:
            self._client.sendall(data)

    def _serve(self) -> None:
        try:
            while True:
                self._client, _ = self._listening.accept()
                with self._client, self._client.makefile("rb") as lines:
                    self._send(GREETING)
                    for line in lines:
                        self._answer(json.loads(line))
        except (OSError, ValueError):
            return

    def _answer(self, asked: dict[str, object]) -> None:
        command = str(asked["execute"])
        self.said.append(command)
        number = asked.get("id")
        if command in self.refuses:
            error = {"class": "GenericError", "desc": f"{command} is not possible now"}
            self._send(json.dumps({"id": number, "error": error}).encode() + b"\r\n")
            return
        self.event("STOP" if command == "stop" else "RESUME")  # events come between question and answer
        self._send(json.dumps({"id": number, "return": self._result(command, asked)}).encode() + b"\r\n")
        if command == "quit":
            self.close()

    def _result(self, command: str, asked: dict[str, object]) -> object:
        match command:
            case "query-name":
                return {"name": self.name}
            case "query-uuid":
                return {"UUID": self.uuid}
            case "query-status":
                return {"status": self.status, "singlestep": False, "running": self.status == "running"}
            case "query-cpus-fast":
                return [{"cpu-index": 0, "thread-id": 1}, {"cpu-index": 1, "thread-id": 2}]
            case "query-memory-size-summary":
                return {"base-memory": 64 << 20, "plugged-memory": 0}
            case "human-monitor-command":
                arguments = asked["arguments"]
                assert isinstance(arguments, dict)
                self.asked.append(arguments["command-line"])
                return self.human.get(arguments["command-line"], "")
            case "stop":
                self.status = "paused"
            case "cont":
                self.status = "running"
            case "system_powerdown":
                self.status = "shutdown"
        return {}
