"""``[[webhook]]`` and ``[system-journal]``: whom Ringfence tells."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ringfence.service.configuration.section import Section


class Webhook(Section, frozen=True, kw_only=True):
    """One receiver of CloudEvents."""

    url: Annotated[str, Meta(description="Where events are posted to.")]


class SystemJournal(Section, frozen=True, kw_only=True):
    """Messages with structured fields in systemd's journal."""

    enabled: Annotated[bool, Meta(description="Write to systemd's journal where there is one.")] = True
