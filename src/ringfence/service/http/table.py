"""Every route there is: routing and the OpenAPI description go by this table alone."""

from __future__ import annotations

from functools import cache

import msgspec

from ringfence.service.http import api, history, login, machine, metrics, policies, words
from ringfence.service.http.openapi import description
from ringfence.service.http.routes import (
    EVENT_STREAM,
    JSON,
    Answer,
    AnyRoute,
    Call,
    Method,
    Nothing,
    Plain,
    Route,
    Scope,
)  # fmt: skip
from ringfence.service.http.streams import Followed, follow


async def described(call: Call[Nothing]) -> Answer:
    """The API's own description."""
    del call
    return Plain(JSON, openapi_json())


ROUTES: tuple[AnyRoute, ...] = (
    *login.ROUTES,
    *api.ROUTES,
    *machine.ROUTES,
    *history.ROUTES,
    *policies.ROUTES,
    *words.ROUTES,
    *metrics.ROUTES,
    Route(
        method=Method.GET, path="/api/v1/events/stream", name="followEvents", needs=Scope.READ, asked=Followed,
        handler=follow, media=EVENT_STREAM,
        summary="Server-sent events: what happens, as it happens; Last-Event-ID resumes",
    ),
    Route(
        method=Method.GET, path="/api/v1/openapi.json", name="openapi", needs=None, asked=Nothing, handler=described,
        summary="This description",
    ),
)  # fmt: skip


@cache
def openapi_json() -> bytes:
    """The description as the service gives it, and as docs/openapi.json has it."""
    return msgspec.json.format(msgspec.json.encode(description(ROUTES), order="sorted"), indent=2) + b"\n"
