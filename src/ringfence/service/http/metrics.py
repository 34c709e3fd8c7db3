"""``GET /metrics``: the service's numbers, for Prometheus to scrape with a token that may read."""

from __future__ import annotations

from ringfence.service import control_protocol as say
from ringfence.service.http.routes import Answer, Call, Method, Nothing, Plain, Route, Scope
from ringfence.service.measuring import exposed
from ringfence.views.exposition import Exposition, wanted


async def metrics(call: Call[Nothing]) -> Answer:
    """The numbers, in the format that the client names in ``Accept``."""
    form = wanted(call.headers.get("accept", ""))
    text = await exposed(call.house, form)
    return text if isinstance(text, say.Refused) else Plain(form.value, text.encode())


ROUTES = (
    Route(
        method=Method.GET, path="/metrics", name="metrics", needs=Scope.READ, asked=Nothing, handler=metrics,
        media=Exposition.PROMETHEUS.value,
        summary="The service's numbers: Prometheus' text, or OpenMetrics where Accept names it",
    ),
)  # fmt: skip
