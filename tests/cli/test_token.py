"""``ringfence token``."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from ringfence.cli import token
from ringfence.cli.main import main
from ringfence.service.http.routes import Scope
from ringfence.service.http.tokens import FILE, digest_of, read


def ran(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["token", arguments[0], "--state-dir", str(directory), *arguments[1:]])


def test_the_scopes_of_the_command_are_those_of_the_service() -> None:
    assert tuple(Scope) == token._SCOPES


def test_a_token_alone_goes_to_standard_output_and_its_hash_to_the_file(tmp_path: Path) -> None:
    made = ran(tmp_path, "create", "--name", "prometheus")
    assert made.exit_code == 0
    secret = made.stdout.rstrip("\n")
    assert secret.startswith("rf_")
    assert len(secret) > 40
    (known,) = read(tmp_path / FILE)
    assert (known.name, known.sha256, known.scopes, known.expires_wall_ms) == (
        "prometheus", digest_of(secret), (Scope.READ,), None
    )  # fmt: skip
    assert "token prometheus may read, without an end" in made.stderr


def test_scopes_are_each_once_and_a_span_is_counted_from_now(tmp_path: Path) -> None:
    made = ran(tmp_path, "create", "--name", "a", "--scope", "operate, read,read", "--expires", "90d")
    assert made.exit_code == 0
    (known,) = read(tmp_path / FILE)
    assert known.scopes == (Scope.READ, Scope.OPERATE)
    assert known.expires_wall_ms == known.created_wall_ms + 90 * 86_400_000


def test_what_is_no_scope_span_or_name_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    for arguments in (
        ("--scope", "everything"), ("--scope", ""), ("--expires", "1w"), ("--expires", "0d"), ("--expires", "999y"),
    ):  # fmt: skip
        assert ran(tmp_path, "create", "--name", "a", *arguments).exit_code == 2
    refused = ran(tmp_path, "create", "--name", "a b")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "A name has" in refused.stderr
    assert not (tmp_path / FILE).exists()


def test_the_list_shows_all_but_the_tokens_themselves(tmp_path: Path) -> None:
    assert "there is no token" in ran(tmp_path, "list").stdout
    secret = ran(tmp_path, "create", "--name", "eye", "--expires", "1h").stdout.strip()
    shown = ran(tmp_path, "list").stdout
    assert "eye" in shown
    assert secret not in shown
    (line,) = ran(tmp_path, "list", "--json").stdout.splitlines()
    assert json.loads(line)["scopes"] == ["read"]
    assert json.loads(line)["valid"] is True
    assert digest_of(secret) not in line


def test_a_revoked_token_is_gone_and_cannot_be_revoked_again(tmp_path: Path) -> None:
    ran(tmp_path, "create", "--name", "eye")
    assert ran(tmp_path, "revoke", "eye").exit_code == 0
    assert read(tmp_path / FILE) == ()
    again = ran(tmp_path, "revoke", "eye")
    assert again.exit_code == 1
    assert "there is no token eye" in again.stderr


def test_a_directory_that_is_not_there_is_told_with_advice(tmp_path: Path) -> None:
    refused = ran(tmp_path / "nothing", "create", "--name", "a")
    assert refused.exit_code == 1
    assert "--state-dir" in refused.stderr
