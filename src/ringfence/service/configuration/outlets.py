"""``[[webhook]]``, ``[system-journal]`` and ``[textfile]``: whom Ringfence tells."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta

from ringfence.service.configuration.section import FileName, Section
from ringfence.service.outlets.topics import Topic

MOST_WEBHOOKS: Final = 16
"""Receivers: each reads the journal by itself, and has series of its own among the metrics."""

SYSTEM_JOURNAL: Final = "system-journal"
"""What systemd's journal is called among those who are told."""

_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,31}$"
_SENDABLE: Final = re.compile(r"[!-~]+")


class Webhook(Section, frozen=True, kw_only=True):
    """One receiver of CloudEvents."""

    name: Annotated[
        str, Meta(pattern=_NAME, description="What it is called here: in health, metrics, `ringfence webhook test`.")
    ]
    url: Annotated[
        str,
        Meta(
            max_length=2048,
            description="Where events are posted to. https; http only where the receiver is on this machine (a "
            "loopback address), or with allow-http. Redirects are not followed.",
        ),
    ]
    events: Annotated[
        tuple[str, ...],
        Meta(
            max_length=64,
            description="What it is told: names of topics (docs/webhooks.md), `case.*` for all that begin so, `*` for "
            "all.",
        ),
    ] = ("*",)
    secret_file: Annotated[
        FileName | None,
        Meta(
            description="A file with one secret a line, at most two: the one in use first, then the one before it. "
            "Nobody but its owner may read it. Without it, events are not signed."
        ),
    ] = None
    ca_file: Annotated[
        FileName | None,
        Meta(description="Certificates (PEM) that the receiver's is checked against, instead of the system's."),
    ] = None
    allow_http: Annotated[
        bool, Meta(description="Post over http to other machines, too: anybody on the way reads it.")
    ] = False
    connect_s: Annotated[
        float, Meta(gt=0, le=60, description="Seconds to find the receiver, connect, and agree on TLS.")
    ] = 5.0
    whole_s: Annotated[float, Meta(gt=0, le=120, description="Seconds for one attempt, from first to last.")] = 15.0
    longest_pause_s: Annotated[
        float, Meta(ge=1, le=3600, description="The longest pause between two attempts; the first is about a second.")
    ] = 300.0
    give_up_h: Annotated[
        float,
        Meta(
            ge=0.01,
            le=720,
            description="An event that the receiver answers with errors for so many hours is passed over, and that is "
            "said. A receiver that does not answer at all is waited for as long as the journal keeps the events.",
        ),
    ] = 72.0

    def __post_init__(self) -> None:
        """Raises ValueError for a name that is taken, a URL that nothing can be posted to, a topic that is none."""
        if self.name == SYSTEM_JOURNAL:
            raise ValueError(f"name: {SYSTEM_JOURNAL} is what systemd's journal is called; choose another")
        if problem := _problem_of(self.url):
            raise ValueError(f"url: {problem}")
        _check_topics(self.events)


class SystemJournal(Section, frozen=True, kw_only=True):
    """Messages with structured fields in systemd's journal."""

    enabled: Annotated[bool, Meta(description="Write to systemd's journal where there is one.")] = True
    events: Annotated[tuple[str, ...], Meta(max_length=64, description="What is written, as for a webhook.")] = ("*",)
    socket: Annotated[FileName, Meta(description="Where systemd's journal listens.")] = "/run/systemd/journal/socket"

    def __post_init__(self) -> None:
        """Raises ValueError for topics that there are none of."""
        _check_topics(self.events)


class Textfile(Section, frozen=True, kw_only=True):
    """A file of metrics for the textfile collector of Prometheus' node_exporter."""

    path: Annotated[
        FileName | None,
        Meta(
            description="The file, with a name that ends in .prom; it is replaced whole. Without it, none is written."
        ),
    ] = None
    interval_s: Annotated[float, Meta(ge=1, le=3600, description="Seconds between two writings.")] = 15.0

    def __post_init__(self) -> None:
        """Raises ValueError for a name that the collector would not read."""
        if self.path is not None and not self.path.endswith(".prom"):
            raise ValueError("path: the collector reads files whose names end in .prom, and no others")


def _check_topics(wanted: tuple[str, ...]) -> None:
    for pattern in wanted:
        if not any(fnmatchcase(topic, pattern) for topic in Topic):
            raise ValueError(f"events: there is no topic {pattern!r}; there are {', '.join(Topic)}")


def _problem_of(url: str) -> str:
    """What is wrong with a URL, empty if nothing is."""
    if not _SENDABLE.fullmatch(url):
        return "it may have visible ASCII characters only; write others as %XX"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "it must be https://host/... (or http://, see allow-http)"
    if parts.username is not None or parts.password is not None:
        return "it may hold no user and password: it is shown in health and logs"
    if parts.fragment:
        return "it may have no part after #"
    return "" if port is None or port > 0 else "there is no port 0"
