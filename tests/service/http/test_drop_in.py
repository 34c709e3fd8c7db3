"""The drop-in for systemd opens what HTTP on the network needs, and no more."""

from __future__ import annotations

from pathlib import Path

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"


def lines(name: str) -> list[str]:
    text = (PACKAGING / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_drop_in_lets_loopback_in_and_nothing_else() -> None:
    assert lines("ringfence.service.d/http.conf") == [
        "[Service]",
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_INET AF_INET6",
        "IPAddressAllow=localhost",
    ]


def test_what_the_drop_in_changes_is_what_the_unit_denies() -> None:
    unit = lines("ringfence.service")
    assert {"PrivateNetwork=yes", "IPAddressDeny=any", "RestrictAddressFamilies=AF_UNIX"} <= set(unit)
