"""``ringfence config``: what it prints, and what a running service makes of a file that was changed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ringfence.cli.main import main
from ringfence.cli.state_dir import default_config
from ringfence.journal import events as ev
from ringfence.service.configuration.configuration import DEFAULT
from ringfence.service.configuration.file import read
from tests.service.processes import PATIENCE_S, RINGFENCE, Service, service


def ringfence(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments])


def test_the_default_that_is_printed_is_the_default() -> None:
    done = ringfence("default")
    assert done.exit_code == 0
    assert read(done.output.encode()).configuration == DEFAULT


def test_a_good_file_is_good_and_names_that_nobody_knows_are_remarked(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[rights.read]\nusers = ["no-such-user"]\n')
    done = ringfence("check", str(path))
    assert done.exit_code == 0
    assert done.output == (
        f"{path}: good; policy: the default\n  [rights] names user no-such-user: not known on this machine\n"
    )


def test_every_problem_of_a_bad_file_is_printed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("x = 1\n[policy]\nunlocated = 1\n")
    done = ringfence("check", "--json", str(path))
    assert done.exit_code == 1
    said = json.loads(done.output)
    assert not said["good"]
    assert [(each["line"], each["key"]) for each in said["problems"]] == [(1, "x"), (3, "policy.unlocated")]
    plain = ringfence("check", str(path))
    assert plain.exit_code == 1
    assert f"{path}:3: policy.unlocated: 1 is none of them; allowed: one of" in plain.output


def test_a_file_that_is_not_there_cannot_be_read() -> None:
    assert ringfence("check", "/no/such/file").exit_code == 2


def test_a_key_is_explained_with_its_value_and_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('\n[rights.read]\nusers = ["root"]\n')
    done = ringfence("explain", "rights.read.users", "--config", str(path))
    assert done.output == (
        f'rights.read.users = ["root"]  [{path}:3]\n'
        "  These users.\n"
        "  Allowed: an array of at most 64, each a text in quotes of 1 to 256 characters. A change applies at once.\n"
    )
    assert "rights.operate.groups = []  [default]" in ringfence("explain", "rights", "--config", str(path)).output
    assert 'policy.deadlines.dom0  [default "2s"]' in ringfence("explain", "policy.deadlines.dom0").output
    assert ringfence("explain", "right").exit_code == 2
    (key,) = json.loads(ringfence("explain", "rights.read.users", "--config", str(path), "--json").output)["keys"]
    assert (key["key"], key["origin"], set(key)) == (
        "rights.read.users", key["origin"], {"key", "value", "origin", "meaning", "allowed", "applies"},
    )  # fmt: skip


def test_the_file_that_is_taken_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGFENCE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/me/.config")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_config() == Path("/home/me/.config/ringfence/ringfence.toml")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_config() == Path("/etc/ringfence/ringfence.toml")
    monkeypatch.setenv("RINGFENCE_CONFIG", "/srv/rf.toml")
    assert default_config() == Path("/srv/rf.toml")
    unit = Path(__file__).resolve().parents[2] / "packaging" / "ringfence.service"
    assert "Environment=RINGFENCE_CONFIG=/etc/ringfence/ringfence.toml\n" in unit.read_text()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text("")
    return path


def reload(of: Service) -> subprocess.CompletedProcess[str]:
    command = [str(RINGFENCE), "config", "reload", "--socket", str(of.socket)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_a_reload_says_what_changed_and_a_bad_file_changes_nothing(config: Path) -> None:
    with service("--config", str(config)) as running:
        running.start()
        config.write_text('[http]\nenabled = true\n[rights.read]\nusers = ["root"]\n[policy]\nunlocated = "halt"\n')
        good, after = reload(running), running.health()
        config.write_text("[http]\nenabled = 3\n")
        bad, still = reload(running), running.health()
        config.write_text("")
        back = reload(running)
        running.end()
        stored = [each for each in running.journal() if isinstance(each, ev.ConfigurationLoaded)]
    assert good.returncode == 0
    assert "http.enabled: changed, holds at the next start only" in good.stdout
    assert "rights.read.users: changed, holds at once" in good.stdout
    assert "a new one applies from now on" in good.stdout
    assert after.at_restart == ("http.enabled",)
    assert bad.returncode == 1
    assert f"{config}:2: http.enabled: 3 is neither true nor false" in bad.stderr
    assert (still.configuration_digest, still.policy_digest) == (after.configuration_digest, after.policy_digest)
    assert any("http.enabled" in problem for problem in still.problems)
    assert back.returncode == 0
    assert [(each.at_once, each.at_restart) for each in stored] == [
        ((), ()),
        (("rights.read.users",), ("http.enabled",)),
        (("rights.read.users",), ("http.enabled",)),
    ]
    assert [bool(each.who) for each in stored] == [False, True, True]
    assert "enabled = true" in stored[1].text
    assert stored[0].digest == stored[2].digest != stored[1].digest
