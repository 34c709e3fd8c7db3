"""Times as the views write them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(time: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC; None if there is none or it is beyond what a calendar can show."""
    if time is None:
        return None
    try:
        return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def to_the_ms(wall_ms: int) -> str:
    """Milliseconds since the epoch as a time in UTC, as people compare it with other logs; the number itself where it
    is beyond what a calendar can show.
    """
    try:
        shown = datetime.fromtimestamp(wall_ms // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{wall_ms} ms"
    return f"{shown:%Y-%m-%d %H:%M:%S}.{wall_ms % 1000:03}Z"
