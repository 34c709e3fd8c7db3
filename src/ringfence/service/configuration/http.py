"""``[http]``: the HTTP API and the console."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.section import Section


class Http(Section, frozen=True, kw_only=True):
    """Off unless it is switched on; on loopback unless told otherwise."""

    enabled: Annotated[bool, Meta(description="Serve the HTTP API and the console.")] = False
