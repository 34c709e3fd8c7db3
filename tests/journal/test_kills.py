"""Whatever is done to a journal may be killed at every single step: what was reported durable is there, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("deed", "least"), [("upkeep", 60), ("salvage", 60), ("upgrade", 20), ("backup", 10)])
def test_a_kill_at_any_step_loses_nothing_and_makes_nothing_twice(deed: str, least: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.journal.killed", deed, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least
