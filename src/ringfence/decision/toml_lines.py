"""On which line of a TOML document each key stands: the standard library's parser does not say (TOML 1.0.0)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Final

KeyPath = tuple[str | int, ...]
"""Where a value stands: names of keys, and numbers of elements of an array of tables, from 0 on."""

_PART: Final = r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'"""
_KEY_PART: Final = re.compile(_PART)
_DOT: Final = re.compile(r"[ \t]*\.[ \t]*")
_BETWEEN: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK: Final = re.compile(r"[ \t]*")
_TOKEN: Final = re.compile(
    r'''
      """(?s:[^\\]|\\.)*?"""(?:"{0,2})
    | \'\'\'(?s:.)*?\'\'\'(?:'{0,2})
    | "(?:[^"\\\n]|\\.)*"
    | '[^'\n]*'
    | \#[^\n]*
    | (?P<open>[\[{])
    | (?P<close>[\]}])
    | (?P<end>\n)
    | [^"'\#\[\]{}\n]+
    ''',
    re.VERBOSE,
)
"""One piece of a value: strings and comments as a whole, since brackets and line ends within them mean nothing."""


class _Scanner:
    """Walks over a document that tomllib has accepted, statement by statement."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = (0, 1)
        self._table: KeyPath = ()
        self._elements: dict[KeyPath, int] = {}
        self.lines: dict[KeyPath, int] = {(): 1}

    def run(self) -> None:
        """Fill ``lines``."""
        while self._skip(_BETWEEN) < len(self._text):
            line = self._line()
            if self._text.startswith("[[", self._at):
                self._table = self._header(2)
            elif self._text.startswith("[", self._at):
                self._table = self._header(1)
            else:
                key = self._key()
                if not key:
                    return  # no document that tomllib accepts: what is known so far is better than no end
                self._note((*self._table, *key), line)
                self._skip_value()
                continue
            self._note(self._table, line)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _line(self) -> int:
        """The line of the present place; counted on from the last call."""
        before, line = self._counted
        self._counted = (self._at, line + self._text.count("\n", before, self._at))
        return self._counted[1]

    def _note(self, path: KeyPath, line: int) -> None:
        # The first line that mentions a table is where it begins, also if it is only part of a dotted key.
        while path not in self.lines:
            self.lines[path] = line
            path = path[:-1]

    def _key(self) -> tuple[str, ...]:
        parts = []
        while found := _KEY_PART.match(self._text, self._at):
            parts.append(_unquoted(found[0]))
            self._at = found.end()
            before = self._at
            if self._skip(_DOT) == before:
                break
        return tuple(parts)

    def _header(self, brackets: int) -> KeyPath:
        self._at += brackets
        self._skip(_BLANK)
        path: KeyPath = ()
        parts = self._key()
        for number, part in enumerate(parts, 1):
            path = (*path, part)
            if number == len(parts) and brackets == 2:
                self._elements[path] = self._elements.get(path, -1) + 1
            if path in self._elements:
                path = (*path, self._elements[path])
        self._skip(_BLANK)
        self._at += brackets
        return path

    def _skip_value(self) -> None:
        depth = 0
        while found := _TOKEN.match(self._text, self._at):
            self._at = found.end()
            depth += (found["open"] is not None) - (found["close"] is not None)
            if found["end"] is not None and depth == 0:
                return


def _unquoted(part: str) -> str:
    if part.startswith('"'):
        (name,) = tomllib.loads(f"{part} = 0")
        return name
    return part[1:-1] if part.startswith("'") else part


def lines(text: str) -> Mapping[KeyPath, int]:
    """The line, from 1 on, of every table and key of a document that ``tomllib.loads`` accepts.

    What stands inside an array or an inline table has no entry of its own: ``line_of`` gives the line of the key that
    the array or table belongs to.
    """
    scanner = _Scanner(text)
    scanner.run()
    return scanner.lines


def line_of(found: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the nearest thing around it that has one."""
    while path not in found:
        path = path[:-1]
    return found[path]
