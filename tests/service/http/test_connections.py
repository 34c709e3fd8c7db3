"""Clients that hold things up: those that send slowly, read slowly, come in masses, or never say anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ringfence.service.http import server
from ringfence.service.http.bounds import Bounds
from ringfence.service.http.routes import Scope
from tests.service.http.serving import Served, raw, served, until
from tests.service.test_control_socket import written

QUICK = Bounds(first_s=0.3, body_s=0.3, idle_s=60.0, slow_s=0.3, connections=8, buffer_bytes=4_096)


@pytest.fixture
def quick(tmp_path: Path, demo_journal: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that has little patience."""
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    with served(tmp_path, bounds=QUICK, journal=demo_journal) as found:
        yield found


def ended(connection: socket.socket) -> bytes:
    """All that comes until the end of the connection."""
    found = b""
    try:
        while piece := connection.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1\r\n"])
def test_who_does_not_finish_its_first_request_is_let_go(quick: Served, sent: bytes) -> None:
    with raw(quick.address) as connection:
        connection.sendall(sent)
        assert ended(connection) == b""
    until(lambda: not quick.door.counted.connections)


def test_who_sends_a_header_a_moment_for_ever_is_let_go_as_well(quick: Served) -> None:
    with raw(quick.address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        connection.settimeout(0.05)
        for number in range(200):
            try:
                connection.sendall(b"X-%d: 1\r\n" % number)
                assert connection.recv(1) == b""
                break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            raise AssertionError("it could go on for ever")


def test_a_body_that_does_not_come_is_answered_and_not_waited_for(quick: Served) -> None:
    head = b"POST /api/v1/do HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
    with raw(quick.over_unix().place) as connection:
        connection.sendall(head)
        said = connection.recv(65_536)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"did not come within" in said


def test_an_idle_connection_is_let_go_however_long_a_first_request_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    with served(tmp_path, bounds=Bounds(first_s=60.0, idle_s=0.3)) as place, raw(place.address) as connection:
        for sent in (b"GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /index.html HT"):
            connection.sendall(sent)
        assert ended(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_who_does_not_read_is_dropped_and_counted(quick: Served) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(quick.over_unix().place)
        connection.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        until(lambda: quick.door.counted.slow)
    assert quick.over_unix().get("/api/v1/health").status == 200


def test_a_follower_that_does_not_read_is_dropped_and_its_place_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    written(tmp_path / "long.sqlite")
    with served(tmp_path, bounds=QUICK, journal=tmp_path / "long.sqlite") as place, raw(place.address) as connection:
        head = f"Host: localhost\r\nAuthorization: Bearer {place.token(Scope.READ)}\r\n"
        connection.sendall(f"GET /api/v1/events/stream?after=0 HTTP/1.1\r\n{head}\r\n".encode())
        until(lambda: place.door.counted.followers)
        until(lambda: place.door.counted.slow)
        until(lambda: not place.door.counted.followers)


def test_beyond_the_bound_clients_wait_and_another_door_stays_open(quick: Served) -> None:
    bounds = quick.door.bounds
    with ExitStack() as stack:
        for _ in range(bounds.connections + 4):
            stack.enter_context(raw(quick.address))
        until(lambda: quick.door.counted.connections == bounds.connections)
        assert quick.over_unix().get("/api/v1/health").status == 200
        assert quick.door.counted.connections <= bounds.connections + 1
        assert quick.client(Scope.READ).get("/api/v1/health").status == 200, "those who say nothing make room"


def test_a_thousand_come_and_go_and_nothing_of_them_is_left(quick: Served) -> None:
    for _ in range(1_000):
        raw(quick.over_unix().place).close()
    until(lambda: not quick.door.counted.connections)
    assert quick.over_unix().get("/api/v1/health").status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"\x00" * 9_000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"A%d: b\r\n" % each for each in range(500)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST /api/v1/do HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/do HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["TLS", "zeros", "version", "long line", "many headers", "long header", "smuggling", "negative"],
)  # fmt: skip
def test_what_is_no_http_is_refused_and_fills_no_log(
    quick: Served, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    with raw(quick.address) as connection:
        connection.sendall(sent)
        said = ended(connection)
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ", b"HTTP/1.1 431 "))
    assert b"aiohttp" not in said
    assert b"application/problem+json" in said
    assert quick.over_unix().get("/api/v1/health").status == 200
    assert capfd.readouterr().err == ""
