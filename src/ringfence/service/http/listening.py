"""Where the API listens: addresses from the configuration, checked; sockets; TLS."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.service.configuration.http import Http
from ringfence.service.control_socket import bound
from ringfence.service.rights import Roster

BACKLOG: Final = 64
"""Connections that the kernel keeps while the service is busy; it lets no more wait (listen(2))."""

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class NetworkPlace:
    """A host and a port of TCP."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody beyond this machine can reach it. A name other than localhost may be resolved to anything."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_every(self) -> bool:
        """Whether it is every address of the machine."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 (it is refused without TLS)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixPlace:
    """The path of a unix socket."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Place = NetworkPlace | UnixPlace


def places(settings: Http) -> tuple[Place, ...]:
    """Where to listen.

    Raises SourceError for what is no place, and for one beyond loopback without TLS.
    """
    found = tuple(map(_place, settings.listen))
    if (settings.certificate is None) != (settings.key is None):
        advice = "Name both, certificate and key, under [http], or neither."
        raise SourceError("http.certificate", "TLS needs a certificate and its key", advice=advice)
    for each in found:
        if isinstance(each, NetworkPlace) and not each.is_loopback and settings.certificate is None:
            message = f"{each} can be reached from other machines, and would show tokens to whoever listens on the way"
            advice = "Set certificate and key under [http], or listen on 127.0.0.1 and let a proxy or ssh come there."
            raise SourceError("http.listen", message, advice=advice)
    return found


def _place(text: str) -> Place:
    if text.startswith("/"):
        return UnixPlace(Path(text))
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_bare_v6 = ":" in host and not text.startswith("[")
    if not (colon and host and port.isdecimal() and port.isascii() and int(port) < 1 << 16) or is_bare_v6:
        advice = "Write host:port, [IPv6 address]:port, or the path of a unix socket."
        raise SourceError("http.listen", f"{text!r} is no place to listen", advice=advice)
    return NetworkPlace(host, int(port))


def names(settings: Http, found: tuple[Place, ...]) -> frozenset[str]:
    """The names by which clients may call the service: a page of another name that was made to lead here is none
    (DNS rebinding).
    """
    given = {each.host.lower() for each in found if isinstance(each, NetworkPlace) and not each.is_every}
    return frozenset({*LOOPBACK_NAMES, *given, *(name.lower().rstrip(".") for name in settings.names)})


def host_of(header: str) -> str:
    """The host in a Host header, without its port and brackets, in lower case (RFC 9110, 7.2)."""
    host, colon, port = header.rpartition(":")
    host = host if colon and port.isdecimal() else header
    return host.strip("[]").lower().rstrip(".")


def listening(place: Place, roster: Roster) -> socket.socket:
    """A socket that listens at a place. Raises SourceError."""
    found = bound(place.path, roster) if isinstance(place, UnixPlace) else _network(place)
    found.listen(BACKLOG)
    return found


def _network(place: NetworkPlace) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise _cannot(place, error) from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise _cannot(place, error) from error
    found.setblocking(False)
    return found


def _cannot(place: NetworkPlace, error: OSError) -> SourceError:
    advice = "Stop who listens there, or name another place under [http] listen."
    return SourceError(str(place), f"cannot listen there: {error.strerror or error}", advice=advice)


# --- TLS --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Certificate:
    """The two files of a certificate, and what tells that they have changed."""

    certificate: Path
    key: Path

    def marks(self) -> tuple[int, ...]:
        """Tells versions of the files apart; empty where one is missing, as it is while it is being replaced."""
        try:
            found = [path.stat() for path in (self.certificate, self.key)]
        except OSError:
            return ()
        return tuple(mark for each in found for mark in (each.st_ino, each.st_mtime_ns, each.st_size))

    def context(self) -> ssl.SSLContext:
        """A server's context: TLS 1.2 at least (RFC 9325, 3.1.1). Raises SourceError if the files are no good."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # A password is asked for at the terminal unless one is given: a service has none.
            context.load_cert_chain(os.fspath(self.certificate), os.fspath(self.key), password="")
        except OSError as error:  # ssl.SSLError is one
            advice = "Both are PEM files that the service's user may read; the key has no passphrase."
            why = error.strerror or str(error)
            raise SourceError(self.certificate, f"it and {self.key} do not make TLS: {why}", advice=advice) from error
        return context


def certificate_of(settings: Http) -> Certificate | None:
    """The certificate of a configuration, None without TLS."""
    if settings.certificate is None or settings.key is None:
        return None
    return Certificate(Path(settings.certificate), Path(settings.key))
