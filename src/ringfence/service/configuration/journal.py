"""``[journal]``: how large the history may become, and what is kept of it."""

from __future__ import annotations

from ringfence.service.configuration.section import Section


class JournalSection(Section, frozen=True, kw_only=True):
    """The bounds of the journal."""
