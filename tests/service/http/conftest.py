"""What the tests of the HTTP server share: a journal in which every row of the concept has happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence.cli.main import main
from tests.service.http.serving import Served, served


@pytest.fixture(scope="session")
def demo_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's journal."""
    path = tmp_path_factory.mktemp("demo") / "journal.sqlite"
    played = CliRunner().invoke(main, ["demo", "--speed", "0", "--json", "--journal", str(path)])
    assert played.exit_code == 0, played.output
    return path


@pytest.fixture
def place(tmp_path: Path, demo_journal: Path) -> Iterator[Served]:
    """A server whose journal has a history."""
    with served(tmp_path, journal=demo_journal) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, demo_journal: Path) -> Iterator[Served]:
    """A server for the tests of a module that change nothing of it."""
    with served(tmp_path_factory.mktemp("shared"), journal=demo_journal) as found:
        yield found
