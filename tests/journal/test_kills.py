"""Whatever is done to a journal may be killed at every single step: what was reported durable is there, once."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
"""A kill leaves what the kernel has: hundreds of kills need no disk that syncs."""


@pytest.mark.parametrize(("deed", "least"), [("upkeep", 60), ("salvage", 60), ("upgrade", 20), ("backup", 10)])
def test_a_kill_at_any_step_loses_nothing_and_makes_nothing_twice(deed: str, least: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        command = [sys.executable, "-m", "tests.journal.killed", deed, directory]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least
