"""A notice as a CloudEvent 1.0 in structured JSON, as it is posted.

Sources: CloudEvents 1.0.2 (github.com/cloudevents/spec): spec.md for the attributes, formats/json-format.md for the
form, http-webhook.md for the delivery.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Final

import msgspec

from ringfence.service.outlets.cursor import Identity
from ringfence.service.outlets.notices import Notice
from ringfence.service.outlets.topics import PREFIX, TOPICS

MEDIA: Final = "application/cloudevents+json; charset=utf-8"


class Data(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the event says. ``number`` is the journal's, ``at`` of which kind; fields that say nothing are left out."""

    host: str
    number: int
    text: str
    priority: int
    kind: str = ""
    case: int | None = None
    row: str = ""
    severity: str = ""
    domain: int | None = None
    domain_name: str = ""
    dimm: str = ""
    details: tuple[str, ...] = ()
    do: str = ""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The envelope. ``subject`` names the case. ``id`` is the same each time that the event is sent."""

    specversion: str
    id: str
    source: str
    type: str
    time: str | None = None
    subject: str = ""
    datacontenttype: str = "application/json"
    data: Data


_YEAR_10000_MS: Final = 253_402_300_800_000
_ENCODER: Final = msgspec.json.Encoder()


def id_of(notice: Notice, identity: Identity) -> str:
    """The event's id: receivers go by it to drop what they have had. The journal's own name and number, and which part
    of what this number is told by.
    """
    return f"{identity.journal}-{notice.number}" + (f"-{notice.part}" if notice.part else "")


def cloud_event(notice: Notice, identity: Identity, now_ms: int) -> bytes:
    """The event's body. ``now_ms`` (since the epoch) is its time if the journal knows none."""
    wall_ms = notice.wall_ms if notice.wall_ms is not None else now_ms
    return _ENCODER.encode(
        CloudEvent(
            specversion="1.0",
            id=id_of(notice, identity),
            source=f"urn:uuid:{identity.host}",
            type=f"{PREFIX}{notice.topic}",
            time=_time(wall_ms),
            subject=f"case/{notice.case}" if notice.case is not None else "",
            data=Data(
                host=socket.gethostname(),
                number=notice.number,
                text=notice.text,
                priority=notice.priority,
                kind=notice.kind,
                case=notice.case,
                row=notice.row,
                severity=notice.severity,
                domain=notice.domain,
                domain_name=notice.domain_name,
                dimm=notice.dimm,
                details=notice.details,
                do=TOPICS[notice.topic].do,
            ),
        )
    )


def _time(wall_ms: int) -> str | None:
    """RFC 3339, in UTC; None for what is no time of ours (a clock that was wrong by ages)."""
    if not 0 <= wall_ms < _YEAR_10000_MS:
        return None
    return datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{wall_ms % 1000:03}Z"
