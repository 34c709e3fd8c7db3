"""A plug-in of pytest: which tests of the labs passed, written beside the consoles for ``python -m lab keep-rows``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from lab.rows import host_of

PASSED: Final = Path("lab-logs") / "passed.json"
"""By host, the tests of the last run that passed."""

_passed: dict[str, list[str]] = {}


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test has passed once its own part has."""
    file, _, name = report.nodeid.partition("::")
    host = host_of(Path(file).name)
    if report.when == "call" and report.passed and host is not None:
        _passed.setdefault(host, []).append(name.partition("[")[0])


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write them down; nothing where none passed. A worker leaves it to whom it reports to."""
    if _passed and not hasattr(session.config, "workerinput"):
        PASSED.parent.mkdir(exist_ok=True)
        PASSED.write_text(json.dumps(_passed, indent=2) + "\n", encoding="utf-8")
