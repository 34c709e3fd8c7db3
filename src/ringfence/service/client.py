"""One question to the running service, from another process."""

from __future__ import annotations

import socket
from pathlib import Path

from ringfence.service import control_protocol as say


def ask_once(path: Path, request: say.Request, timeout_s: float) -> say.Reply:
    """Ask, and give the one reply. Raises OSError if the service does not answer within ``timeout_s`` (of each step),
    ``msgspec.DecodeError`` if what it says cannot be read.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(say.line_of(request))
        with connection.makefile("rb") as lines:
            return say.reply_of(lines.readline(say.MAX_REPLY_BYTES))
