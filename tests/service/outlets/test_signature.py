"""Signatures as Standard Webhooks have them, by secrets that nobody else can read."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from ringfence.errors import SourceError
from ringfence.service.outlets.signature import secrets_of, signed

GOOD = base64.b64encode(b"x" * 32).decode()


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_signature_is_that_of_the_specifications_example() -> None:
    """The Standard Webhooks' test vector: libraries/*/tests of github.com/standard-webhooks/standard-webhooks."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed((secret,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_file_has_one_or_two_secrets_with_or_without_prefix(tmp_path: Path) -> None:
    assert secrets_of(put(tmp_path / "s", f"{GOOD}\n")) == (b"x" * 32,)
    other = base64.b64encode(b"y" * 24).decode()
    assert secrets_of(put(tmp_path / "s", f"whsec_{other}\n\n  {GOOD}  \n")) == (b"y" * 24, b"x" * 32)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (GOOD, 0o644, "others than its owner may read it"),
        (GOOD, 0o610, "others than its owner may read it"),
        ("", 0o600, "it has 0 lines"),
        (f"{GOOD}\n" * 3, 0o600, "it has 3 lines"),
        ("hunter2", 0o600, "line 1 is no secret: it is not base64"),
        (f"{GOOD}\nhünter2", 0o600, "line 2 is no secret"),
        (base64.b64encode(b"short").decode(), 0o600, "it has 5 bytes"),
        (base64.b64encode(b"x" * 65).decode(), 0o600, "it has 65 bytes"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_the_secret(text: str, mode: int, why: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        secrets_of(put(tmp_path / "s", text, mode))
    assert why in str(error.value)
    assert "hunter2" not in f"{error.value} {error.value.advice} {error.value.__cause__}"


def test_what_is_no_file_is_said_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SourceError):
        secrets_of(tmp_path / "pipe")  # and does not wait for somebody to write to it
    with pytest.raises(SourceError, match="No such file"):
        secrets_of(tmp_path / "nothing")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_secret_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    os.chown(put(tmp_path / "s", GOOD), 12345, 12345)
    with pytest.raises(SourceError, match=r"it belongs to somebody else \(uid 12345\)"):
        secrets_of(tmp_path / "s")
