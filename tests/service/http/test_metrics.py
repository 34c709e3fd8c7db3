"""``GET /metrics``: for whoever may read, in the format that they ask for."""

from __future__ import annotations

from pathlib import Path

from ringfence.service.http.routes import Scope
from ringfence.views.exposition import Exposition
from tests.service.http.serving import served


def test_a_token_that_may_read_gets_the_numbers_in_the_format_that_it_asks_for(tmp_path: Path) -> None:
    with served(tmp_path) as at:
        reader = at.client(Scope.READ)
        plain = reader.get("/metrics")
        openmetrics = reader.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
        nobody, approver = at.client().get("/metrics"), at.client(Scope.APPROVE).get("/metrics")
    assert (plain.status, plain.headers["content-type"]) == (200, Exposition.PROMETHEUS.value)
    assert (openmetrics.status, openmetrics.headers["content-type"]) == (200, Exposition.OPENMETRICS.value)
    assert openmetrics.body.endswith(b"# EOF\n")
    assert (nobody.status, approver.status) == (401, 403)
