"""Places to listen at, as a configuration names them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NetworkPlace:
    """A host and a port of TCP; port 0 is any free one."""

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


def place_of(text: str) -> Place:
    """The place of ``host:port``, ``[IPv6]:port`` or an absolute path. Raises ValueError for anything else."""
    if text.startswith("/"):
        return UnixPlace(Path(text))
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_bare_v6 = ":" in host and not text.startswith("[")
    if not (colon and host and port.isdecimal() and port.isascii() and int(port) < 1 << 16) or is_bare_v6:
        what = "host:port, [IPv6 address]:port, or the path of a unix socket"
        raise ValueError(f"{text!r} is no place to listen; write {what}")
    return NetworkPlace(host, int(port))
