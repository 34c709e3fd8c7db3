"""``[http]``: the HTTP API and the console."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.places import NetworkPlace, Place, place_of
from ringfence.service.configuration.section import AT_ONCE, FileName, Section


class Http(Section, frozen=True, kw_only=True):
    """Off unless it is switched on; on loopback unless told otherwise."""

    enabled: Annotated[bool, Meta(description="Serve the HTTP API and the console.")] = False
    listen: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...],
        Meta(
            min_length=1,
            max_length=8,
            description="Where: host:port, [IPv6]:port, or the path of a unix socket. Beyond loopback only with TLS.",
            extra=AT_ONCE,
        ),
    ] = ("127.0.0.1:8473",)
    certificate: Annotated[
        FileName | None,
        Meta(
            description="TLS: the certificate's file (PEM), with its chain. Read again when it changes.", extra=AT_ONCE
        ),
    ] = None
    key: Annotated[
        FileName | None, Meta(description="TLS: the private key's file (PEM, without a passphrase).", extra=AT_ONCE)
    ] = None
    names: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
        Meta(
            max_length=32,
            description="Further host names by which clients may call it, a proxy's for example.",
            extra=AT_ONCE,
        ),
    ] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for what is no place, for one beyond loopback without TLS, and for half of TLS."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate, key: TLS needs both")
        for each in self.places:
            if isinstance(each, NetworkPlace) and not each.is_loopback and self.certificate is None:
                raise ValueError(
                    f"listen: {each} can be reached from other machines, and whoever listens on the way would see "
                    "tokens; set certificate and key, or listen on 127.0.0.1 and let a proxy or ssh come there"
                )

    @property
    def places(self) -> tuple[Place, ...]:
        """Where to listen."""
        try:
            return tuple(map(place_of, self.listen))
        except ValueError as error:
            raise ValueError(f"listen: {error}") from error
