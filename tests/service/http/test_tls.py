"""Where it listens, by TLS and without, and what a reload changes of that."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from ringfence.service.configuration.http import Http
from ringfence.service.configuration.places import NetworkPlace, UnixPlace
from ringfence.service.http import server
from ringfence.service.http.bounds import Bounds
from ringfence.service.http.listening import certificate_of
from ringfence.service.http.routes import Scope
from tests.service.http.serving import Served, changed, raw, served, until

OPENSSL = shutil.which("openssl")
tls = pytest.mark.skipif(OPENSSL is None, reason="openssl makes the certificates, and is not installed")


# --- places -----------------------------------------------------------------------------------------------------------


def test_a_place_is_a_host_with_a_port_or_a_path() -> None:
    listen = ("127.0.0.1:1", "[::1]:65535", "localhost:0", "/run/ringfence/http.sock")
    assert Http(listen=listen).places == (
        NetworkPlace("127.0.0.1", 1),
        NetworkPlace("::1", 65_535),
        NetworkPlace("localhost", 0),
        UnixPlace(Path("/run/ringfence/http.sock")),
    )


@pytest.mark.parametrize(
    "text", ["8080", ":8080", "localhost", "::1:80", "h:65536", "h:-1", "h:", "h:٣", "relative/path"]
)
def test_what_is_no_place_is_said_with_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no place to listen; write .*\[IPv6 address\]:port"):
        Http(listen=(text,))


@pytest.mark.parametrize(
    "text", ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "host.example:80", "[fe80::1]:80", "127.1:80"]
)
def test_beyond_loopback_there_is_no_listening_without_tls(text: str) -> None:
    with pytest.raises(ValueError, match=r"can be reached from other machines.*set certificate and key"):
        Http(listen=("127.0.0.1:1", text))
    assert Http(listen=(text,), certificate="/c", key="/k").places


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="TLS needs both"):
        Http(certificate="/c")


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with served(tmp_path, http=Http(enabled=True, listen=(f"127.0.0.1:{port}",))) as place:
            (problem,) = place.house.problems
            assert "cannot listen there: Address already in use" in problem


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificate(directory: Path, name: str) -> Http:
    """A certificate for localhost that signs itself, in files that are replaced as a whole."""
    made = directory / "new"
    made.mkdir(exist_ok=True)
    command = [str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(made / "key.pem"), "-out", str(made / "cert.pem"), "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    for each in ("key.pem", "cert.pem"):
        (made / each).replace(directory / each)
    return Http(
        enabled=True, listen=("127.0.0.1:0",), certificate=str(directory / "cert.pem"), key=str(directory / "key.pem")
    )


@contextmanager
def secured(place: Served, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with raw(place.address) as connection, context.wrap_socket(connection, server_hostname="localhost") as found:
        yield found


def trusting(path: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def subject(place: Served, context: ssl.SSLContext) -> str:
    with secured(place, context) as connection:
        found = connection.getpeercert()
        assert found is not None
        return str(found["subject"])


@tls
def test_over_tls_the_cookie_goes_nowhere_else_and_plain_http_is_no_tls(tmp_path: Path) -> None:
    settings = certificate(tmp_path, "one")
    with served(tmp_path, http=settings) as place, secured(place, trusting(settings.certificate)) as connection:
        body = b'{"token":"%b"}' % place.token(Scope.READ).encode()
        head = f"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        said = connection.recv(65_536)
        assert said.startswith(b"HTTP/1.1 200 OK")
        cookie = next(line for line in said.split(b"\r\n") if line.startswith(b"Set-Cookie"))
        assert b"Secure" in cookie
        with raw(place.address) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert plain.recv(10) == b""
        assert not tuple(place.house.problems)


@tls
def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    settings = certificate(tmp_path, "one")
    made = certificate_of(settings)
    assert made is not None
    assert made.context().minimum_version is ssl.TLSVersion.TLSv1_2


@tls
def test_a_certificate_that_is_replaced_is_shown_at_once_and_a_bad_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    settings = certificate(tmp_path, "one")
    with served(tmp_path, http=settings) as place:
        assert "one" in subject(place, trusting(settings.certificate))
        certificate(tmp_path, "two")
        until(lambda: _shows(place, settings, "two"))
        (tmp_path / "bad.pem").write_text("no certificate")
        (tmp_path / "bad.pem").replace(tmp_path / "cert.pem")
        until(lambda: tuple(place.house.problems))
        (problem,) = place.house.problems
        assert "the certificate of before goes on" in problem
        certificate(tmp_path, "three")
        until(lambda: _shows(place, settings, "three"))
        until(lambda: not tuple(place.house.problems))


def _shows(place: Served, settings: Http, name: str) -> bool:
    try:
        return name in subject(place, trusting(settings.certificate))
    except ssl.SSLError:
        return False


@tls
def test_who_does_not_finish_the_handshake_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    settings = certificate(tmp_path, "one")
    with served(tmp_path, http=settings, bounds=Bounds(first_s=0.3)) as place, raw(place.address) as connection:
        until(lambda: place.door.counted.connections)
        assert connection.recv(1) == b""
        until(lambda: not place.door.counted.connections)


# --- a reload ---------------------------------------------------------------------------------------------------------


def reloaded(place: Served, settings: Http) -> None:
    place.configuration = msgspec.structs.replace(place.configuration, http=settings)


def test_a_reload_opens_and_closes_places_and_cuts_off_nobody_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    first, second = str(tmp_path / "a"), str(tmp_path / "b")
    settings = Http(enabled=True, listen=(first, second))
    with served(tmp_path, http=settings) as place, raw(first) as stays, raw(second) as goes:
        third = str(tmp_path / "c")
        reloaded(place, changed(settings, listen=(first, third)))
        until(lambda: third in place.server.addresses)
        assert goes.recv(1) == b""
        assert not Path(second).exists()
        for connection in (stays, raw(third)):
            with connection:
                connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_a_reload_of_what_is_refused_changes_nothing_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.02)
    with served(tmp_path) as place:
        before = place.server.addresses
        settings = place.configuration.http
        reloaded(place, changed(settings, listen=(str(tmp_path / "new"), str(tmp_path / "nothing" / "there"))))
        until(lambda: tuple(place.house.problems))
        assert place.server.addresses == before
        assert not (tmp_path / "new").exists()
        assert place.over_unix().get("/api/v1/health").status == 200
        reloaded(place, changed(settings, names=("host.example",)))
        until(lambda: not tuple(place.house.problems))
        said = place.client(Scope.READ).ask("GET", "/api/v1/health", headers={"Host": "host.example"})
        assert said.status == 200
