"""How the API listens: the sockets of its places, and TLS."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.errors import SourceError
from ringfence.service.configuration.http import Http
from ringfence.service.configuration.places import NetworkPlace, Place, UnixPlace
from ringfence.service.control_socket import bound
from ringfence.service.rights import Roster

BACKLOG: Final = 64
"""Connections that the kernel keeps while the service is busy; it lets no more wait (listen(2))."""

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")


def names(settings: Http) -> frozenset[str]:
    """The names by which clients may call the service: a page of another name that was made to lead here is none
    (DNS rebinding).
    """
    given = {each.host.lower() for each in settings.places if isinstance(each, NetworkPlace) and not each.is_every}
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
