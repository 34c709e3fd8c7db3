"""What the shell offers is what the running service knows, and nothing that a shell would run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.service.processes import ASKING, NO_CONFIG, PATIENCE_S, RINGFENCE, Service, service, until

GUESTS = """
[[guests]]
name = "shop"
kind = "HVM"
[[guests]]
name = "$(touch owned)"
kind = "HVM"
"""


def offered(socket: Path, words: str) -> list[str]:
    """What is offered in place of the last word."""
    environment = {
        **os.environ, **NO_CONFIG, "_RINGFENCE_COMPLETE": "bash_complete", "RINGFENCE_SOCKET": str(socket),
        "COMP_WORDS": f"ringfence {words}", "COMP_CWORD": str(len(f"ringfence {words}".split(" ")) - 1),
    }  # fmt: skip
    done = subprocess.run(
        [str(RINGFENCE)], capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.removeprefix("plain,") for line in done.stdout.splitlines() if line]


def waits(running: Service) -> bool:
    """Whether something waits for a word about each guest."""
    return {each.name for each in running.approvals()} >= {"shop", "$(touch owned)"}


def cases(running: Service) -> set[str]:
    """The cases of which something about the shop waits."""
    return {str(each.case) for each in running.approvals() if each.name == "shop"}


def test_guests_and_what_waits_are_offered_by_name_and_a_name_that_a_shell_would_run_by_its_number() -> None:
    with service(scenario=ASKING + GUESTS) as running:
        running.start()
        until(lambda: waits(running), 60)
        numbers = {each.name: each.domain for each in running.approvals()}
        assert set(offered(running.socket, "do pause ")) == {"shop", str(numbers["$(touch owned)"])}
        assert offered(running.socket, "do pause sh") == ["shop"]
        before, found, after = cases(running), offered(running.socket, "approve "), cases(running)
        assert before & after
        assert before & after <= set(found)
        case = max(before & after)
        assert "shop" in offered(running.socket, f"reject {case} ")
        assert offered(running.socket, "reject 1 ") == []


def test_receivers_are_offered(tmp_path: Path) -> None:
    path = tmp_path / "ringfence.toml"
    path.write_text('[system-journal]\nenabled = false\n[[webhook]]\nname = "pager"\nurl = "http://127.0.0.1:1/"\n')
    with service() as running:
        running.start("--config", str(path))
        assert offered(running.socket, "webhook test ") == ["pager"]


@pytest.mark.parametrize("words", ["do pause ", "approve ", "reject 1 ", "acquit ", "webhook test "])
def test_without_a_service_nothing_is_offered_and_nothing_is_said(words: str, tmp_path: Path) -> None:
    assert offered(tmp_path / "none", words) == []
