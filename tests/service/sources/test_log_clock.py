"""The clock of the kernel's log against the wall clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ringfence.service.sources.log_clock import LogClock, behind_s

# As Linux 6.1 has it, 3 days after its boot.
HEADER = """Sched Debug Version: v0.11, 6.1.0-39-amd64 #1
ktime                                   : 259205165.123456
sched_clk                               : 259199165.120000
cpu_clk                                 : 259199165.123456
jiffies                                 : 4359694087
"""


def test_a_log_whose_clock_goes_wrong_is_put_right(tmp_path: Path) -> None:
    path = tmp_path / "debug"
    path.write_text(HEADER)
    assert behind_s(path) == pytest.approx(6.0)
    right, wrong = LogClock(path), LogClock(tmp_path / "none")
    assert right() - wrong() == pytest.approx(6.0, abs=1)
    assert wrong() == pytest.approx(time.time() - time.monotonic(), abs=1)


@pytest.mark.parametrize("said", ["", "ktime : many\ncpu_clk : few\n", HEADER.replace("cpu_clk", "clk"), "\0" * 9999])
def test_what_the_kernel_does_not_tell_is_taken_for_no_difference(tmp_path: Path, said: str) -> None:
    (path := tmp_path / "debug").write_text(said)
    assert behind_s(path) == 0.0
    assert behind_s(tmp_path) == 0.0
