"""The API fuzzed from its own description: whatever is asked, the answer is one that the description names.

The generator is seeded, so that a run is the same each time; ``RINGFENCE_FUZZ_EXAMPLES`` makes it longer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ringfence.service.http import policies
from ringfence.service.http.bounds import Bounds
from ringfence.service.http.routes import EVENT_STREAM, Scope
from ringfence.service.http.table import ROUTES, openapi_json
from ringfence.service.http.trial import Trial, Tried
from tests.service.http.serving import PATIENCE_S, Served, served

EXAMPLES = int(os.environ.get("RINGFENCE_FUZZ_EXAMPLES", "12"))
OFTEN = 1_000_000_000
UNHURRIED = Bounds(
    rate_per_s=OFTEN, burst=OFTEN, wrong_per_s=OFTEN, wrong_burst=OFTEN, change_per_s=OFTEN, change_burst=OFTEN
)

schema = schemathesis.openapi.from_dict(json.loads(openapi_json()))
every = schema.exclude(path=[route.path for route in ROUTES if route.media == EVENT_STREAM])


async def not_tried(_: Trial) -> Tried:
    return Tried(events=())


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, demo_journal: Path) -> Iterator[Served]:
    """A server that does not mind how often it is asked; a good policy is not played, which takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policies, "tried", not_tried)
        with served(tmp_path_factory.mktemp("fuzzed"), bounds=UNHURRIED, journal=demo_journal) as found:
            yield found


@pytest.fixture(scope="module")
def token(fuzzed: Served) -> str:
    return fuzzed.token(*Scope, name="fuzz")


@every.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_description_names(
    case: schemathesis.Case[Any], fuzzed: Served, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    case.call_and_validate(
        base_url=f"http://{fuzzed.address}",
        headers=headers,
        timeout=PATIENCE_S,
        excluded_checks=[positive_data_acceptance],
    )
    assert not fuzzed.door.counted.faults
