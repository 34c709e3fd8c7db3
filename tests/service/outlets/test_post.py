"""One POST: the certificate is verified, no address is posted to that nobody should, and what comes back is bounded."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

import msgspec
import pytest

from ringfence.service.configuration.outlets import Webhook
from ringfence.service.outlets.post import Answer, Post, PostError, Target, _retry_after_s
from tests.service.outlets.receivers import PATIENCE_S, answers_with, receiver

OPENSSL = shutil.which("openssl")


def post(url: str, *, allow_http: bool = False, context: ssl.SSLContext | None = None) -> Answer:
    sender = Post(Target.of(url), 2.0, 2.0, allow_http=allow_http, context=context)
    return asyncio.run(sender.post(b"{}", {"Content-Type": "application/json"}))


def refused(url: str, *, allow_http: bool = False) -> str:
    with pytest.raises(PostError) as error:
        post(url, allow_http=allow_http)
    return str(error.value)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has every name mean these addresses."""

    def mean(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 80)) for each in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    return mean


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "a multicast address"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("240.0.0.1", "reserved"),
    ],
)
def test_addresses_at_which_no_receiver_lives_are_not_posted_to(
    address: str, why: str, names: Callable[..., None]
) -> None:
    names(address)
    assert refused("http://receiver.example/", allow_http=True).endswith(f" is {why}")


def test_over_http_only_this_machine_is_posted_to_unless_it_is_allowed(names: Callable[..., None]) -> None:
    names("192.0.2.1")
    assert refused("http://receiver.example/") == "receiver.example is another machine: use https, or set allow-http"


def test_a_name_that_means_several_addresses_is_posted_to_where_somebody_listens(names: Callable[..., None]) -> None:
    names("169.254.169.254", "127.0.0.2", "127.0.0.1")
    with receiver() as to:
        assert post(f"http://receiver.example:{to.port}/").status == 204
    assert to.got[0].headers["host"] == f"receiver.example:{to.port}"


def test_a_lookup_that_hangs_costs_one_thread_and_no_attempt_longer_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, asked = threading.Event(), list[object]()

    def hang(*arguments: object, **_: object) -> list[object]:
        asked.append(arguments)
        over.wait(PATIENCE_S)
        return []

    async def scene() -> None:
        sender = Post(Target.of("http://receiver.example/"), 0.05, 1.0)
        for _ in range(3):
            with pytest.raises(PostError, match=r"no connection within 0.05 s"):
                await sender.post(b"", {})
        assert sum(each.name == "resolver" for each in threading.enumerate()) == 1

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        asyncio.run(scene())
    finally:
        over.set()
    assert len(asked) == 1


def test_a_name_that_is_not_found_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    sender = Post(Target.of("http://receiver.example/"), 1.0, 1.0)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    for _ in range(2):
        with pytest.raises(PostError, match=r"receiver.example cannot be found: Name or service not known"):
            asyncio.run(sender.post(b"", {}))


def test_an_error_says_the_beginning_of_its_body_only() -> None:
    with receiver(answers_with("500 Oops", body="x" * 100_000)) as to:
        assert post(to.url).body == "x" * 512


def test_interim_answers_are_passed_over() -> None:
    async def behave(_: object, writer: asyncio.StreamWriter, __: object) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\n\r\n")

    with receiver(behave) as to:
        assert post(to.url).status == 201


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _retry_after_s("120") == 120
    date = parsedate_to_datetime(format_datetime(parsedate_to_datetime("Sun, 06 Nov 2033 08:49:37 GMT"), usegmt=True))
    found = _retry_after_s("Sun, 06 Nov 2033 08:49:37 GMT")
    assert found is not None
    assert abs(found - (date.timestamp() - time.time())) < 60
    assert _retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    for text in ("", "soon", "-1", "1e9", "\u0661", "Sun, 99 Nov 2033 08:49:37 GMT"):
        assert _retry_after_s(text) is None
    assert _retry_after_s("9" * 5000) == 999_999_999


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://a/", "it must be https"),
        ("https:///x", "it must be https"),
        ("https://u:p@a/", "no user and password"),
        ("https://a/#x", "no part after #"),
        ("https://a/x\r\nX: y", "visible ASCII"),
        ("https://a/ü", "visible ASCII"),
        ("https://a:99999/", "[Pp]ort"),
        ("https://a:0/", "no port 0"),
        ("https://[::1/", "Invalid IPv6"),
    ],
)
def test_a_url_that_nothing_can_be_posted_to_is_refused_with_the_configuration(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Webhook(name="a", url=url)


def test_the_name_of_systemds_journal_is_taken() -> None:
    with pytest.raises(ValueError, match="choose another"):
        Webhook(name="system-journal", url="https://a/")


def test_a_topic_that_there_is_none_of_is_refused_with_the_configuration() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"there is no topic 'cases'"):
        msgspec.convert({"name": "a", "url": "https://a/", "events": ["cases"]}, Webhook)


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not there to make a certificate with")
def test_the_certificate_and_its_name_are_verified(tmp_path: Path, names: Callable[..., None]) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = f"{OPENSSL} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ops.example"
    command += f" -addext subjectAltName=DNS:ops.example -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    names("127.0.0.1")

    async def scene(host: str, context: ssl.SSLContext) -> Answer:
        async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await writer.drain()
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(came, "127.0.0.1", 0, ssl=serving)
        port = server.sockets[0].getsockname()[1]
        try:
            sender = Post(Target.of(f"https://{host}:{port}/"), 5.0, 5.0, context=context)
            return await sender.post(b"{}", {})
        finally:
            server.close()

    knowing = ssl.create_default_context(cafile=certificate)
    assert asyncio.run(scene("ops.example", knowing)).status == 200
    with pytest.raises(PostError, match=r"certificate is not good: Hostname mismatch"):
        asyncio.run(scene("other.example", knowing))
    with pytest.raises(PostError, match=r"certificate is not good: self.signed"):
        asyncio.run(scene("ops.example", ssl.create_default_context()))
