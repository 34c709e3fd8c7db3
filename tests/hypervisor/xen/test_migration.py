"""The other host is asked before anything is sent to it, by the way by which it would be sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringfence.hypervisor.xen.migration import OtherHost
from ringfence.service.configuration.xen import Xen


def shell(home: Path, script: str) -> str:
    path = home / "ssh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{path} -o BatchMode=yes"


def test_a_host_is_healthy_when_its_xen_has_answered_and_has_as_much_room_as_it_says(tmp_path: Path) -> None:
    said = 'test "$*" = "-o BatchMode=yes other xl info" && printf "host : x\\nfree_memory            : 1536\\n"'
    other = OtherHost("other", shell(tmp_path, said), 100)
    assert not other.destination().healthy, "nobody has looked yet"
    other.look()
    there = other.destination()
    assert (there.name, there.healthy, there.free_pages) == ("other", True, 1536 * 256)
    assert other.why == ""


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo Permission denied >&2; exit 255", "ended with 255: Permission denied"),
        ("echo nonsense", "ended with 0: it said nothing"),
        ("echo free_memory : 99999999999", "ended with 0"),
    ],
)
def test_a_host_that_does_not_answer_as_it_should_is_not_healthy_and_says_why(
    tmp_path: Path, script: str, why: str
) -> None:
    other = OtherHost("other", shell(tmp_path, script), 100)
    other.look()
    assert not other.destination().healthy
    assert why in other.why


def test_a_shell_that_is_not_there_is_said(tmp_path: Path) -> None:
    other = OtherHost("other", str(tmp_path / "none"), 100)
    other.look()
    assert os.strerror(2) in other.why


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "a\nb"])
def test_a_host_whose_name_would_be_an_option_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no host's name"):
        Xen(destination=name)


@pytest.mark.parametrize("command", ["", "'"])
def test_a_shell_that_is_no_command_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match="no command"):
        Xen(destination="other", shell=command)
