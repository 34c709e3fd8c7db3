"""``[journal]``: how large the history may become, and what is kept of it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ringfence.service.configuration.section import AT_ONCE, Section

LEAST_BYTES = 16 << 20
"""Below this, what is open on a bad day leaves no room for a history."""


class JournalSection(Section, frozen=True, kw_only=True):
    """The bounds of the journal. What is open, what is counted and what was judged bad outlives them."""

    limit_bytes: Annotated[
        int,
        Meta(
            ge=LEAST_BYTES,
            le=1 << 40,
            description="The journal's file may have so many bytes; at four fifths of it the oldest events go, 1,024 or"
            " more at a time. It never passes this but by 36 MiB: the reserve for a full disk, and room to make room"
            " (its write-ahead log beside it: some 16 MiB).",
        ),
    ] = 4 << 30
    keep_days: Annotated[
        int, Meta(ge=0, le=36_525, description="Events older than so many days go as well; 0: none do.", extra=AT_ONCE)
    ] = 1096
    archive_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 50,
            description="Events that go are kept in journal-archive beside the journal, compressed, in files of so many"
            " bytes together at most (the oldest go); 0: they are not kept.",
            extra=AT_ONCE,
        ),
    ] = 0
    snapshot_every_events: Annotated[
        int,
        Meta(
            ge=1_000,
            le=10_000_000,
            description="After so many events a snapshot of the state is put into the journal: a start reads what comes"
            " after it, about a second for ten thousand events.",
            extra=AT_ONCE,
        ),
    ] = 20_000
    on_damage: Annotated[
        Literal["salvage", "refuse"],
        Meta(
            description="A damaged journal at the start: salvage it and go on, with the damaged file set aside; or"
            " refuse to start, and leave the host unwatched until somebody comes.",
        ),
    ] = "salvage"
