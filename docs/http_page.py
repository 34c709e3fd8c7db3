"""The generated page of the HTTP API, from the table of routes; and its OpenAPI description."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ringfence.service.http import bounds, tokens, trial
from ringfence.service.http.bounds import BOUNDS
from ringfence.service.http.connections import LOOK_S
from ringfence.service.http.listening import BACKLOG
from ringfence.service.http.openapi import statuses
from ringfence.service.http.table import ROUTES, openapi_json

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]
Page = Callable[[str, str, Iterable[str]], str]

_BOUNDS: Final = (
    ("connections at a time, at each place", str(BOUNDS.connections), "the next ones wait in the kernel's queue"),
    ("connections in the kernel's queue", str(BACKLOG), "the kernel lets them try again, or refuses them"),
    ("streams at a time; of one client", f"{BOUNDS.followers}; {BOUNDS.followers_each}", "429"),
    ("seconds to the end of a first request's head", f"{BOUNDS.first_s:g}", "the connection is ended"),
    ("seconds for a body", f"{BOUNDS.body_s:g}", "408"),
    ("seconds between two requests", f"{BOUNDS.idle_s:g}", "the connection is ended"),
    ("seconds that an answer may lie unread", f"{BOUNDS.slow_s:g}", "the connection is ended, and counted as slow"),
    ("bytes that wait for one client", str(BOUNDS.buffer_bytes), "beyond the kernel's own buffer"),
    ("bytes of a line or a field of the head; fields", f"{BOUNDS.head_bytes}; {BOUNDS.headers}", "400"),
    ("bytes of a body; of a dry run's", f"{bounds.BODY_BYTES}; {bounds.POLICY_BODY_BYTES}", "413"),
    ("requests of one client", f"{BOUNDS.rate_per_s:g} a second, {BOUNDS.burst} at once", "429 with Retry-After"),
    ("changes of one client", f"{BOUNDS.change_per_s:g} a second, {BOUNDS.change_burst} at once", "429"),
    ("readers of the journal at work", str(BOUNDS.readers), "the next ones wait"),
    ("wrong tokens of one address", f"{BOUNDS.wrong_per_s * 60:g} a minute, {BOUNDS.wrong_burst} at once", "429"),
    ("clients whose rate is remembered", str(BOUNDS.clients), "the one seen least lately begins anew"),
    ("sessions", str(BOUNDS.sessions), "the one used least lately ends"),
    (
        "hours of a session; without a request",
        f"{BOUNDS.session_s / 3600:g}; {BOUNDS.session_idle_s / 3600:g}",
        "it ends",
    ),
    ("tokens", str(tokens.MOST_TOKENS), "`ringfence token create` refuses"),
    ("events of one page; looked at for it", f"{bounds.MOST_EVENTS}; {bounds.MOST_SCANNED}", "`after` goes on"),
    ("seconds between two signs of life of a stream", f"{bounds.HEARTBEAT_S:g}", ""),
    ("events of a dry run; its seconds", f"{trial.MOST_TRIED}; {trial.LONGEST_S:g}", "400; 503"),
    ("dry runs at a time", "1", "503 with Retry-After"),
)


def http(page: Page, table: Table) -> str:
    """The page."""
    routes = (
        (
            each.method,
            f"`{each.path}`",
            each.needs if each.needs is not None else "-",
            each.summary,
            ", ".join(str(int(status)) for status in statuses(each)),
        )
        for each in ROUTES
    )
    return page(
        "The HTTP API",
        "Its description for programs is [openapi.json](../openapi.json), which the service gives at "
        "`/api/v1/openapi.json`; how to set it up is in [http.md](../http.md). A change is a POST or a DELETE; it is "
        "journaled with who did it. What a request asks for stands in the query of a GET, else in the JSON body.",
        [
            "## Operations\n",
            table(("method", "path", "scope", "does", "refused with"), routes),
            "## Bounds\n",
            f"Times are kept to within {LOOK_S:g} s.\n",
            table(("bound", "value", "beyond it"), _BOUNDS),
        ],
    )


def openapi() -> str:
    """The API's own description."""
    return openapi_json().decode()
