"""Exit codes: one meaning a number in every command, and one page that tells them all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from ringfence.cli.exits import MEANINGS, Exit
from ringfence.cli.main import main

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "exit-codes.md"
SOURCES: Final = sorted((ROOT / "src" / "ringfence" / "cli").glob("*.py"))
WITHOUT: Final = {"completion", "config default", "config schema", "policy default"}
"""These print what the program knows, and cannot fail."""


def commands(group: click.Group = main, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        elif f"{before}{name}" not in WITHOUT:
            yield f"{before}{name}", command


def told(command: click.Command) -> str:
    """What its help says of its exit codes, as one line."""
    found = re.search(r"Exit codes: (?P<said>.*?)\s*(?:\n\n|$)", command.help or "", re.DOTALL)
    return " ".join(found["said"].split()) if found else ""


@pytest.mark.parametrize(("name", "command"), tuple(commands()))
def test_every_command_tells_its_exit_codes_and_the_page_has_them(name: str, command: click.Command) -> None:
    said = told(command)
    numbers = [int(number) for number in re.findall(r"(?:^|; )(\d) ", said)]
    assert numbers, "it does not tell its exit codes"
    assert numbers == sorted(set(numbers)), said
    assert set(numbers) <= set(Exit)
    assert f"| `ringfence {name}` | {said} |" in PAGE.read_text(encoding="utf-8")


def test_the_page_has_the_meaning_of_every_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert set(MEANINGS) == set(Exit)
    assert all(f"| {code.value} | {means} |" in page for code, means in MEANINGS.items())


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_command_has_numbers_of_its_own(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, int):
            names = [each.id for each in node.targets if isinstance(each, ast.Name)]
            assert not [name for name in names if name.startswith("EXIT_") and name != "EXIT_PIPE"], source
