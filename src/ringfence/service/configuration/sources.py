"""``[sources]``: where evidence comes from besides the hypervisor."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.section import Section


class Sources(Section, frozen=True, kw_only=True):
    """Each source of a Linux host can be switched on and off."""

    host: Annotated[
        bool, Meta(description="Follow the evidence of the machine that Ringfence runs on, as far as it can be read.")
    ] = False
