"""The agent's policy file: every key has a default, and what is wrong is said with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.guest.policy import OwnerAction, PageAction, Policy, PolicyError, read
from ringfence.guest.protocol import What


def of(tmp_path: Path, text: str) -> Policy:
    (tmp_path / "guest.toml").write_text(text)
    return read(tmp_path / "guest.toml")


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert of(tmp_path, "") == Policy()
    assert Policy().owner is OwnerAction.LEAVE


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
    [endangered]
    do = "nothing"
    [lost]
    do = "hard-offline"
    owner = "restart-unit"
    units = ["postgresql.service"]
    [hooks]
    directory = "/opt/hooks"
    seconds = 3
    """
    assert of(tmp_path, text) == Policy(
        pages={What.LOST: PageAction.HARD_OFFLINE, What.ENDANGERED: PageAction.NOTHING},
        owner=OwnerAction.RESTART_UNIT,
        units=frozenset({"postgresql.service"}),
        hooks=Path("/opt/hooks"),
        hook_s=3,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[lost", "it is not TOML"),
        ("[gone]", "gone: there is no such table; allowed: lost, endangered, hooks"),
        ("lost = 1", "lost: a table is expected"),
        ("[lost]\ndid = 1", "lost.did: there is no such key; allowed: do, owner, units"),
        ('[lost]\ndo = "soft-offline"', "lost.do: 'soft-offline'; allowed: hard-offline, nothing"),
        ("[endangered]\ndo = 1", "endangered.do: 1; allowed: soft-offline, hard-offline, nothing"),
        ('[lost]\nowner = "pardon"', "lost.owner: 'pardon'; allowed: leave, kill, restart-unit"),
        ('[lost]\nunits = "x"', "lost.units: a list of names"),
        ('[lost]\nunits = ["--now"]', "lost.units: a list of names"),
        ("[hooks]\nseconds = true", "hooks.seconds: a number from 1 to 300"),
        ("[hooks]\nseconds = 301", "hooks.seconds: a number from 1 to 300"),
        ('[hooks]\ndirectory = "here"', "hooks.directory: an absolute path"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/guest.toml: ")
    assert says in str(caught.value)


def test_a_file_that_cannot_be_read_or_has_no_end_is_said(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        read(tmp_path / "nothing")
    with pytest.raises(PolicyError, match="more than 65536 bytes"):
        of(tmp_path, "#" * 65_537)
