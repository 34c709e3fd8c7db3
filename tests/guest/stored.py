"""A xenstored in little: the wire of xs_wire.h over a unix socket, nodes, watches, and a home for each connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ringfence.guest.xenstore import Kind, Packet, Packets


class Stored:
    """Serves connections; those to ``guest_socket(n)`` are domain n's, those to ``path`` are Dom0's."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.nodes: dict[str, bytes] = {}
        self.refuses: dict[str, bytes] = {}
        """Paths that are refused, with the word for it."""
        self.pause_s = 0.0
        """So long a question lies in one buffer, as in Linux (xenbus_xs.c, xenbus_dev_request_and_reply): of those that
        come meanwhile, the last one's words stand in the place of all."""
        self.requests: list[tuple[int, int, bytes]] = []
        self._watches: list[tuple[socket.socket, str, bytes]] = []
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._ends = False
        self.path = self._listen("dom0.sock", 0)

    def guest_socket(self, domain: int) -> Path:
        return self._listen(f"{domain}.sock", domain)

    def close(self) -> None:
        with self._lock:
            self._ends = True
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _listen(self, name: str, domain: int) -> Path:
        path = self._home / name
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        listening.listen()
        self._open.append(listening)
        threading.Thread(target=self._accept, args=(listening, domain), daemon=True).start()
        return path

    def _accept(self, listening: socket.socket, domain: int) -> None:
        with suppress(OSError):
            while True:
                made, _ = listening.accept()
                with self._lock:
                    if self._ends:
                        made.close()
                        return
                    self._open.append(made)
                threading.Thread(target=self._serve, args=(made, domain), daemon=True).start()

    def _serve(self, made: socket.socket, domain: int) -> None:
        packets = Packets()
        with suppress(OSError):
            while data := made.recv(8192):
                found = packets.of(data)
                if self.pause_s:
                    time.sleep(self.pause_s)
                    with suppress(BlockingIOError):
                        found += packets.of(made.recv(1 << 16, socket.MSG_DONTWAIT))
                    found = [replace(each, payload=found[-1].payload) for each in found]
                for packet in found:
                    with self._lock:
                        self._answer(made, domain, packet)

    def _answer(self, made: socket.socket, domain: int, packet: Packet) -> None:
        self.requests.append((domain, packet.kind, packet.payload))
        given, _, value = packet.payload.partition(b"\0")
        name = given.decode()
        home = f"/local/domain/{domain}"
        path = name if name.startswith("/") else f"{home}/{name}"

        def say(payload: bytes, kind: int = packet.kind) -> None:
            made.sendall(Packet(kind, payload, packet.request).packed())

        if packet.kind == Kind.WRITE and domain and not path.startswith(f"{home}/data/"):
            return say(b"EACCES\0", Kind.ERROR)
        if (word := self.refuses.get(path)) is not None:
            return say(word + b"\0", Kind.ERROR)
        match packet.kind:
            case Kind.READ if path in self.nodes:
                say(self.nodes[path])
            case Kind.READ:
                say(b"ENOENT\0", Kind.ERROR)
            case Kind.WRITE:
                self.nodes[path] = value
                say(b"OK\0")
                self._fire(path)
            case Kind.RM:
                gone = self.nodes.pop(path, None)
                say(b"OK\0") if gone is not None else say(b"ENOENT\0", Kind.ERROR)
                self._fire(path)
            case Kind.WATCH:
                self._watches.append((made, path, given + b"\0" + value))
                say(b"OK\0")
                made.sendall(Packet(Kind.WATCH_EVENT, given + b"\0" + value).packed())
            case _:
                say(b"ENOSYS\0", Kind.ERROR)
        return None

    def _fire(self, path: str) -> None:
        for made, watched, payload in list(self._watches):
            if watched == path:
                with suppress(OSError):
                    made.sendall(Packet(Kind.WATCH_EVENT, payload).packed())


@contextmanager
def stored(home: Path) -> Iterator[Stored]:
    server = Stored(home)
    try:
        yield server
    finally:
        server.close()
