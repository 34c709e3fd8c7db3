"""``[rights]``: who may do what over the control socket."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.section import Section


class Rights(Section, frozen=True, kw_only=True):
    """Root and the service's own user may do everything, whatever stands here."""

    read: Annotated[tuple[str, ...], Meta(description="Groups whose members may look.")] = ()
