"""``[http]``: the HTTP API and the console."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

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
