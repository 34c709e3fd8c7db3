"""The kinds of values that a policy file holds: what is allowed, how it is read, written, and told to a schema."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ringfence.decision import durations

MAX_SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""

_LARGEST_SHOWN: Final = 10**MAX_SHOWN

Schema = dict[str, object]


@dataclass(frozen=True, slots=True)
class Refused:
    """A value that is not allowed, and what is wrong with it. ``of_form``: it is not even of the right kind."""

    problem: str
    of_form: bool = False


def shown(raw: object) -> str:
    """A value as a message repeats it: short, whatever the file held."""
    match raw:
        case bool():
            return "true" if raw else "false"
        case int() if not -_LARGEST_SHOWN < raw < _LARGEST_SHOWN:
            return f"a number of {raw.bit_length()} bits"  # in decimal it could exceed what int can write
        case str():
            text = repr(raw[: MAX_SHOWN + 1])
        case dict():
            return "a table"
        case list():
            return "an array"
        case _:
            text = str(raw)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _words(members: type[StrEnum]) -> list[str]:
    return [member.value for member in members]


def _listed(members: type[StrEnum]) -> str:
    return ", ".join(f'"{word}"' for word in _words(members))


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time. The program holds it in multiples of ``unit_ms``."""

    shortest_ms: int
    longest_ms: int
    unit_ms: int = 1

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        *most, last = durations.UNITS_MS
        return f"a number with {', '.join(most)} or {last}, from {self.words_ms(self.shortest_ms)} to " + self.words_ms(
            self.longest_ms
        )

    @staticmethod
    def words_ms(ms: int) -> str:
        """Exactly these milliseconds, for reading."""
        return re.sub(r"(?<=\d)(?=[a-z])", " ", durations.write(ms))

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        ms = durations.read(raw) if isinstance(raw, str) else None
        if ms is None:
            return Refused(f"{shown(raw)} is no duration", of_form=True)
        if not self.shortest_ms <= ms <= self.longest_ms:
            return Refused(f"{shown(raw)} is too {'short' if ms < self.shortest_ms else 'long'}")
        if ms % self.unit_ms:
            return Refused(f"{shown(raw)} is no whole number of {self.words_ms(self.unit_ms)}")
        return ms // self.unit_ms

    def write(self, value: object) -> str:
        """As it stands in a file."""
        assert isinstance(value, int)  # noqa: S101 (the key's field is one)
        return f'"{durations.write(value * self.unit_ms)}"'

    def words(self, value: object) -> str:
        """As a sentence says it."""
        assert isinstance(value, int)  # noqa: S101 (the key's field is one)
        return self.words_ms(value * self.unit_ms)

    def schema(self) -> Schema:
        """What JSON Schema can say of it: the form, not the range."""
        return {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)? ?({'|'.join(durations.UNITS_MS)})$"}


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"a whole number from {self.least} to {self.most}"

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        if not isinstance(raw, int) or isinstance(raw, bool):
            return Refused(f"{shown(raw)} is no whole number", of_form=True)
        if not self.least <= raw <= self.most:
            return Refused(f"{shown(raw)} is too {'small' if raw < self.least else 'large'}")
        return raw

    def write(self, value: object) -> str:
        """As it stands in a file."""
        return str(value)

    def words(self, value: object) -> str:
        """As a sentence says it."""
        return str(value)

    def schema(self) -> Schema:
        """Type and range."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Weight:
    """A number that need not be whole."""

    least: float
    most: float

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"a number from {self.least:g} to {self.most:g}"

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        if not isinstance(raw, int | float) or isinstance(raw, bool) or math.isnan(raw):
            return Refused(f"{shown(raw)} is no number", of_form=True)
        if not self.least <= raw <= self.most:
            return Refused(f"{shown(raw)} is too {'small' if raw < self.least else 'large'}")
        return float(raw)

    def write(self, value: object) -> str:
        """As it stands in a file."""
        return repr(value)

    def words(self, value: object) -> str:
        """As a sentence says it."""
        return f"{value:g}" if isinstance(value, float) else str(value)

    def schema(self) -> Schema:
        """Type and range."""
        return {"type": "number", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return "true or false"

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        return raw if isinstance(raw, bool) else Refused(f"{shown(raw)} is neither true nor false", of_form=True)

    def write(self, value: object) -> str:
        """As it stands in a file."""
        return "true" if value else "false"

    def words(self, value: object) -> str:
        """As a sentence says it."""
        return "yes" if value else "no"

    def schema(self) -> Schema:
        """The type."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of few words."""

    members: type[StrEnum]

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"one of {_listed(self.members)}"

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        if isinstance(raw, str) and raw in _words(self.members):
            return raw
        return Refused(f"{shown(raw)} is none of them", of_form=True)

    def write(self, value: object) -> str:
        """As it stands in a file."""
        return f'"{value}"'

    def words(self, value: object) -> str:
        """As a sentence says it."""
        return str(value)

    def schema(self) -> Schema:
        """The words."""
        return {"enum": _words(self.members)}


@dataclass(frozen=True, slots=True)
class Choices:
    """Some of few words, none twice."""

    members: type[StrEnum]

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"an array of some of {_listed(self.members)}, or an empty one"

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        if not isinstance(raw, list):
            return Refused(f"{shown(raw)} is no array", of_form=True)
        known = _words(self.members)
        wrong = next((item for item in raw if not isinstance(item, str) or item not in known), None)
        if wrong is not None:
            return Refused(f"{shown(wrong)} is none of them", of_form=True)
        twice = next((item for item in raw if raw.count(item) > 1), None)
        return raw if twice is None else Refused(f"{shown(twice)} stands there twice")

    def _ordered(self, value: object) -> list[str]:
        if isinstance(value, tuple):
            return [str(item) for item in value]
        assert isinstance(value, frozenset)  # noqa: S101 (the key's field is one or the other)
        return [str(member) for member in self.members if member in value]

    def write(self, value: object) -> str:
        """As it stands in a file."""
        return f"[{', '.join(json.dumps(item) for item in self._ordered(value))}]"

    def words(self, value: object) -> str:
        """As a sentence says it."""
        return ", ".join(self._ordered(value)) or "none"

    def schema(self) -> Schema:
        """The words, none twice."""
        return {"type": "array", "items": {"enum": _words(self.members)}, "uniqueItems": True}


@dataclass(frozen=True, slots=True)
class Text:
    """A word that others have chosen: a name, a label."""

    longest: int

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"1 to {self.longest} printable characters in quotes"

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        if not isinstance(raw, str):
            return Refused(f"{shown(raw)} is no text", of_form=True)
        if not 1 <= len(raw) <= self.longest:
            return Refused(f"{shown(raw)} is too {'long' if raw else 'short'}")
        return raw if raw.isprintable() else Refused(f"{shown(raw)} holds what cannot be printed")

    def write(self, value: object) -> str:
        """As it stands in a file."""
        return json.dumps(value, ensure_ascii=False)

    def words(self, value: object) -> str:
        """As a sentence says it."""
        return str(value)

    def schema(self) -> Schema:
        """Type and length."""
        return {"type": "string", "minLength": 1, "maxLength": self.longest}


_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|")


@dataclass(frozen=True, slots=True)
class Uuid:
    """A UUID (RFC 9562, section 4), or nothing. Capitals are read as the small letters that xl and libvirt write."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return 'a UUID such as "12345678-9abc-def0-1234-56789abcdef0", or ""'

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        if isinstance(raw, str) and len(raw) <= MAX_SHOWN and _UUID.fullmatch(raw.lower()):
            return raw.lower()
        return Refused(f"{shown(raw)} is no UUID", of_form=True)

    def write(self, value: object) -> str:
        """As it stands in a file."""
        return f'"{value}"'

    def words(self, value: object) -> str:
        """As a sentence says it."""
        return str(value) or "any"

    def schema(self) -> Schema:
        """The form."""
        return {"type": "string", "pattern": "^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$"}


@dataclass(frozen=True, slots=True)
class Texts:
    """Some texts, in no order."""

    each: Text
    most: int

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return f"an array of at most {self.most} texts, each of {self.each.allowed}"

    def read(self, raw: object) -> object | Refused:
        """The value for the program, in the plainest type that it is made from."""
        if not isinstance(raw, list):
            return Refused(f"{shown(raw)} is no array", of_form=True)
        if len(raw) > self.most:
            return Refused(f"these are {len(raw)}")
        return next((found for found in map(self.each.read, raw) if isinstance(found, Refused)), raw)

    def write(self, value: object) -> str:
        """As it stands in a file."""
        assert isinstance(value, frozenset)  # noqa: S101 (the key's field is one)
        return f"[{', '.join(self.each.write(item) for item in sorted(value))}]"

    def words(self, value: object) -> str:
        """As a sentence says it."""
        assert isinstance(value, frozenset)  # noqa: S101 (the key's field is one)
        return ", ".join(sorted(value)) or "any"

    def schema(self) -> Schema:
        """The type, how many, and each one's."""
        return {"type": "array", "items": self.each.schema(), "maxItems": self.most}


Kind = Duration | Count | Weight | Switch | Choice | Choices | Text | Uuid | Texts
"""All kinds. Each has ``allowed``, ``read``, ``write``, ``words`` and ``schema``."""
