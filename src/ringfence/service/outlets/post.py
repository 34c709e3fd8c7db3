"""One POST over HTTP/1.1 or HTTPS, bounded in time and in what is read, that follows no redirect and uses no proxy.

Written on asyncio's streams, so that a receiver that hangs costs no thread, and a cancelled attempt ends at once; why
no library is used: docs/decisions/0013-outlets.md. Sources: RFC 9112 (messages), RFC 9110 (status codes, Retry-After).
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from ringfence import __version__

MOST_HEAD_BYTES: Final = 1 << 14
"""Of an answer's head: that of a careful server has some hundred bytes."""
MOST_BODY_BYTES: Final = 512
"""Of an answer that is an error, for the person who reads what came back."""
BODY_S: Final = 1.0
"""For that body: the status is known already."""
MOST_ADDRESSES: Final = 4
"""Of one name that are tried."""
MOST_INTERIM: Final = 4
"""Answers of the 1xx kind before the final one."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?")

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as hosts without IPv4 see them (RFC 6052)."""

Address = IPv4Address | IPv6Address


class PostError(Exception):
    """No answer came: the message says why, for a person."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``retry_after_s`` is None where it was not said, ``body`` the beginning of an error's."""

    status: int
    retry_after_s: float | None = None
    location: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post, from a URL that the configuration has checked."""

    host: str
    port: int
    path: str
    tls: bool
    authority: str

    @classmethod
    def of(cls, url: str) -> Target:
        """The target of a URL."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), path, tls, parts.netloc)


@dataclass(slots=True)
class Post:
    """Posts to one target. ``context`` verifies the receiver's certificate and its name.

    Which addresses may be posted to: an operator chose the name, so private networks and this machine are as good as
    any. Link-local, multicast, unspecified and reserved ones are not: no receiver lives there, while services that hand
    out a cloud machine's credentials do (169.254.169.254). What a name resolves to is checked each time, and what was
    checked is what is connected to.
    """

    target: Target
    connect_s: float
    whole_s: float
    allow_http: bool = False
    context: ssl.SSLContext | None = None
    _lookup: Future[tuple[str, ...]] | None = field(default=None)

    async def post(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Send, and give the answer. Raises PostError if none came in time."""
        connected: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self.whole_s):
                reader, connected = await self._connect()
                connected.write(self._head(len(body), headers) + body)
                # Not awaited: a receiver that answers before it has read all is heard all the same.
                return await self._answer(reader)
        except TimeoutError:
            raise PostError(f"no answer within {self.whole_s:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise PostError(f"the connection broke before the answer was whole ({error})") from None
        except asyncio.LimitOverrunError:
            raise PostError(f"the answer's head is longer than {MOST_HEAD_BYTES} bytes") from None
        except OSError as error:
            raise PostError(_in_words(error)) from None
        finally:
            if connected is not None:
                connected.transport.abort()

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self.connect_s):
                addresses = await self._addresses()
                problem = OSError("it has no address")
                for address in addresses:
                    try:
                        return await asyncio.open_connection(
                            address,
                            self.target.port,
                            limit=MOST_HEAD_BYTES,
                            ssl=self.context if self.target.tls else None,
                            server_hostname=self.target.host if self.target.tls else None,
                        )
                    except ssl.SSLError:
                        raise  # another address of the same name is no better
                    except OSError as error:
                        problem = error
                raise PostError(f"no connection to {self.target.host}: {_in_words(problem)}")
        except TimeoutError:
            raise PostError(f"no connection within {self.connect_s:g} s") from None

    async def _addresses(self) -> tuple[str, ...]:
        found = await self._resolved()
        allowed = [each for each in found if not (why := _refused(ip_address(each.split("%")[0])))]
        if not allowed:
            why = _refused(ip_address(found[0].split("%")[0])) if found else "it has no address"
            raise PostError(f"{self.target.host} is not posted to: {why}")
        if not self.target.tls and not self.allow_http:
            allowed = [each for each in allowed if ip_address(each.split("%")[0]).is_loopback]
            if not allowed:
                raise PostError(f"{self.target.host} is another machine: use https, or set allow-http")
        return tuple(allowed[:MOST_ADDRESSES])

    async def _resolved(self) -> tuple[str, ...]:
        """The addresses of the target's name.

        In a thread of its own, for the resolver may hang and cannot be interrupted; at most one at a time, and none
        that others wait for. A lookup that still runs is waited for by the next attempt.
        """
        if self._lookup is None:
            self._lookup = Future[tuple[str, ...]]()
            threading.Thread(target=self._resolve, args=(self._lookup,), name="resolver", daemon=True).start()
        lookup = self._lookup
        try:
            return await asyncio.shield(asyncio.wrap_future(lookup))
        finally:
            if lookup.done():
                self._lookup = None

    def _resolve(self, lookup: Future[tuple[str, ...]]) -> None:
        try:
            found = socket.getaddrinfo(self.target.host, self.target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            lookup.set_exception(PostError(f"{self.target.host} cannot be found: {_in_words(error)}"))
        else:
            lookup.set_result(tuple(dict.fromkeys(str(each[4][0]) for each in found)))

    # --- the messages -------------------------------------------------------------------------------------------------

    def _head(self, length: int, headers: dict[str, str]) -> bytes:
        lines = {
            "Host": self.target.authority,
            "User-Agent": f"ringfence/{__version__}",
            "Accept": "*/*",
            "Content-Length": str(length),
            "Connection": "close",
            **headers,
        }
        given = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self.target.path} HTTP/1.1\r\n{given}\r\n".encode("ascii")

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        for _ in range(MOST_INTERIM):
            status, headers = _head_of(await reader.readuntil(b"\r\n\r\n"))
            if status >= 200:
                break
        else:
            raise PostError("one interim answer after the other")
        body = b""
        if status >= 300:
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(BODY_S):
                    body = await reader.read(MOST_BODY_BYTES)
        return Answer(
            status,
            retry_after_s=_retry_after_s(headers.get("retry-after", "")),
            location=headers.get("location", ""),
            body=body.decode("utf-8", "replace"),
        )


def _head_of(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _STATUS.fullmatch(first)
    if found is None:
        raise PostError(f"what came back is no HTTP: {first[:60]!r}")
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return int(found[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _retry_after_s(value: str) -> float | None:
    """Seconds from now: given as such, or as a date (RFC 9110, 10.2.3). None for anything else."""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    now = type(date).now(date.tzinfo)
    return max(0.0, (date - now).total_seconds())


def _refused(address: Address) -> str:
    """Why an address is not posted to, empty if it is."""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address)
    if address.is_loopback:
        return ""
    for name, holds in (
        ("link-local", address.is_link_local),
        ("a multicast address", address.is_multicast),
        ("unspecified", address.is_unspecified),
        ("reserved", address.is_reserved),
    ):
        if holds:
            return f"{address} is {name}"
    return ""


def _in_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the receiver's certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}"
    number = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror) or not isinstance(number, int) or number <= 0:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return os.strerror(number)  # asyncio has words of its own, which name the address and not the cause
