"""Runs in a machine of the lab, on its serial port: does what the other side asks, in Python's own library alone.

A request and a reply are a line each: a mark, a number, a CRC-32, and JSON in base64. Serial lines of emulated machines
lose and double bytes: who gets a bad line says so, and the last reply is kept to be sent again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import tty
import zlib
from pathlib import Path
from typing import Any


def line(mark: bytes, number: int, value: dict[str, Any]) -> bytes:
    """A value as a line."""
    body = base64.b64encode(json.dumps(value).encode())
    return b"%s%d %08x %s\n" % (mark, number, zlib.crc32(body), body)


def parsed(mark: bytes, raw: bytes) -> tuple[int, dict[str, Any]]:
    """The number and the value of a line. Raises ValueError for a bad one."""
    at = raw.rfind(mark)
    number, crc, body = raw[at + 1 :].split()
    if at < 0 or zlib.crc32(body) != int(crc, 16):
        raise ValueError
    return int(number), json.loads(base64.b64decode(body))


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """A command with its input; output is cut at its end's megabyte."""
    process = subprocess.Popen(
        asked["run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        out, err = process.communicate(base64.b64decode(asked.get("input", "")), asked["timeout_s"])
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        code = None
    return {
        "code": code,
        "out": base64.b64encode(out[-1 << 20 :]).decode(),
        "err": base64.b64encode(err[-1 << 20 :]).decode(),
    }


def write(asked: dict[str, Any]) -> dict[str, Any]:
    """A file, or more of it."""
    with Path(asked["write"]).open("ab" if asked["more"] else "wb") as file:
        file.write(base64.b64decode(asked["data"]))
    return {}


def read(asked: dict[str, Any]) -> dict[str, Any]:
    """A piece of a file."""
    with Path(asked["read"]).open("rb") as file:
        file.seek(asked["offset"])
        return {"data": base64.b64encode(file.read(asked["size"])).decode()}


def talk(asked: dict[str, Any]) -> dict[str, Any]:
    """A line sent to a socket of the machine, and the line that came back; none if none came in time."""
    said = b""
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(TimeoutError):
        connection.settimeout(asked["timeout_s"])
        connection.connect(asked["talk"])
        connection.sendall(asked["line"].encode() + b"\n")
        while not said.endswith(b"\n") and (more := connection.recv(65536)):
            said += more
    return {"out": base64.b64encode(said).decode()}


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked, done; what went wrong is the answer."""
    try:
        for verb, what in (("run", run), ("write", write), ("read", read), ("talk", talk)):
            if verb in asked:
                return what(asked)
        return {}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def serve(path: str) -> None:
    """Answer for ever."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port, termios.TCSANOW)
    held, done, kept = b"", 0, b""
    os.write(port, b"\nready\n")
    while True:
        held += os.read(port, 65536)
        *lines, held = held.split(b"\n")
        for raw in lines:
            if not raw.strip():
                continue
            try:
                number, asked = parsed(b">", raw)
            except (ValueError, TypeError):
                os.write(port, b"\n?\n")
                continue
            if number != done:
                kept, done = line(b"<", number, answer(asked)), number
            rest = b"\n" + kept
            while rest:
                rest = rest[os.write(port, rest) :]


if __name__ == "__main__":
    serve(sys.argv[1])
