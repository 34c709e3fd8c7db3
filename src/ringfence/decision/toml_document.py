"""A TOML file that a person wrote: its content with the line of every key, or what is wrong with it (TOML 1.0.0)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from ringfence.decision.policy_kinds import shown
from ringfence.decision.toml_lines import KeyPath, lines
from ringfence.errors import FileError, FileProblem

MAX_BYTES: Final = 256 << 10
"""A file with a rule for each of a thousand domains has about half of that."""

MAX_DOTS: Final = 256
"""In one line. The time that tomllib needs for a dotted key grows with the square of its parts."""

MAX_PROBLEMS: Final = 200
"""More than a person reads; the rest is counted. A file of nonsense could hold tens of thousands."""

_LONGEST_MISSPELLING: Final = 64
"""Characters of an unknown key up to which a known one is looked for that is like it."""

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TOO_MANY_DIGITS: Final = re.compile(r"[0-9][0-9_]{1000}")


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds. ``lines`` has the line of each table and key (``toml_lines.lines``)."""

    text: str
    content: dict[str, object]
    lines: Mapping[KeyPath, int]


def parse(data: bytes, path: str, error: type[FileError]) -> Document:
    """The document in ``data``; ``path`` is what messages call the file.

    Raises ``error`` for what is no TOML, with one problem: the parser stops there.
    """
    text = _text(data, path, error)
    return Document(text, _content(text, path, error), lines(text))


def _text(data: bytes, path: str, error: type[FileError]) -> str:
    if len(data) > MAX_BYTES:
        raise error(path, (FileProblem(1, "", f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes"),))
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as found:
        line = data.count(b"\n", 0, found.start) + 1
        problem = FileProblem(line, "", f"byte {data[found.start]:#04x} is no UTF-8", "text in UTF-8")
        raise error(path, (problem,)) from found


def _content(text: str, path: str, error: type[FileError]) -> dict[str, object]:
    last = text.count("\n") + 1
    dotted = next((number for number, line in enumerate(text.split("\n"), 1) if line.count(".") > MAX_DOTS), None)
    if dotted is not None:
        raise error(path, (FileProblem(dotted, "", "too many dots", f"at most {MAX_DOTS} dots in a line"),))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as found:
        message = str(found)
        place = _PLACE.search(message)
        line = int(place[1]) if place and place[1] else last
        problem = FileProblem(line, "", f"this is no TOML: {message[: place.start()] if place else message}")
    except RecursionError:
        problem = FileProblem(1, "", "arrays or tables are nested too deeply", "arrays of words")
    except ValueError:
        # int() refuses thousands of digits, and tomllib lets that through as it is.
        digits = _TOO_MANY_DIGITS.search(text)
        line = text.count("\n", 0, digits.start()) + 1 if digits else last
        problem = FileProblem(line, "", "a number has too many digits")
    raise error(path, (problem,))


def bounded(problems: Iterable[FileProblem]) -> tuple[FileProblem, ...]:
    """The problems in the order of the lines, the first of them if they are too many to read."""
    found = sorted(problems, key=lambda problem: problem.line)
    if len(found) <= MAX_PROBLEMS:
        return tuple(found)
    rest = FileProblem(found[MAX_PROBLEMS].line, "", f"and {len(found) - MAX_PROBLEMS} more problems from here on")
    return (*found[:MAX_PROBLEMS], rest)


def meant(name: str, here: Iterable[str], elsewhere: Mapping[str, str]) -> str:
    """The known key that is most like an unknown one, as the end of a sentence; empty if none is.

    ``here`` are the keys that its table may hold, ``elsewhere`` full paths by the names of keys in other tables.
    """
    if len(name) > _LONGEST_MISSPELLING:
        return ""
    at_hand = {each: each for each in here}
    # It may be spelt right, and stand in the wrong table.
    for names, likeness in ((elsewhere, 1.0), (at_hand, 0.6), (elsewhere, 0.8)):
        if near := get_close_matches(name, names, 1, likeness):
            return f"; did you mean {names[near[0]]}?"
    return ""


def named(path: str) -> str:
    """An unknown key as a message repeats it: short, and nothing that a terminal would act on."""
    return path if path.isprintable() and len(path) <= _LONGEST_MISSPELLING else shown(path)
