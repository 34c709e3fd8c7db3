"""The configuration as a TOML file: read with every error at its line, written with every key's meaning.

The policy may stand in it, too: ``policy = "FILE"`` names a policy file, or the tables ``[policy]``,
``[policy.trends]``, ``[[policy.domain]]`` and so on hold exactly what a policy file holds.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Final, cast

import msgspec

from ringfence.decision import policy_file
from ringfence.decision.policy_file import PolicyFile
from ringfence.decision.policy_kinds import Schema, shown
from ringfence.decision.toml_document import MAX_BYTES, MAX_PROBLEMS, bounded, meant, named, parse
from ringfence.decision.toml_lines import KeyPath, line_of
from ringfence.errors import ConfigurationError, FileProblem, SourceError
from ringfence.service.configuration.configuration import DEFAULT, Configuration
from ringfence.service.configuration.keys import Key, keys_of, refused
from ringfence.service.configuration.section import Applies, Section

POLICY: Final = "policy"
"""The key that is a file's name, or a table of the policy's own."""

MOST_TABLES: Final = 64
"""Of one kind in double brackets: receivers, tokens. Each costs a task or a line of a table."""

_HIDDEN: Final = "(not shown)"


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A configuration with where it comes from. ``lines`` has the line of each key that the file sets; it is empty,
    like ``path``, for the configuration that holds without a file. ``policy`` is the one that stands in the file.
    """

    configuration: Configuration = DEFAULT
    path: str = ""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    policy: PolicyFile | None = None

    @property
    def text(self) -> str:
        """All that it says, without comments and without what is secret, as the journal keeps it."""
        return write(self.configuration, commented=False)

    @property
    def digest(self) -> str:
        """Tells configurations apart: the first 16 hexadecimal digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def policy_path(self) -> str | None:
        """The policy file that it names, seen from its own directory; None if it names none."""
        named_file = self.configuration.policy
        return None if named_file is None else str(Path(self.path).parent / named_file)

    def origin(self, path: KeyPath) -> str:
        """Where a key's value comes from: ``ringfence.toml:12`` or ``default``."""
        line = self.lines.get(path)
        return "default" if line is None else f"{self.path}:{line}"


# --- reading ----------------------------------------------------------------------------------------------------------


def load(path: Path | None, *, required: bool = True) -> ConfigurationFile:
    """The configuration of a file; what holds without one where there is no ``path``, or no file that is not
    ``required``.

    Raises SourceError if the file cannot be read, ConfigurationError with all its problems if it is none.
    """
    if path is None:
        return ConfigurationFile()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        if not required:
            return ConfigurationFile()
        raise SourceError(path, "there is no such file", advice=_ADVICE) from error
    except OSError as error:
        raise SourceError(path, error.strerror or str(error), advice=_ADVICE) from error
    return read(data, str(path))


_ADVICE: Final = "Name a configuration file that may be read with --config. `ringfence config default` prints one."


def read(data: bytes, path: str = "ringfence.toml") -> ConfigurationFile:
    """The configuration that a file holds; ``path`` is what messages call it.

    Raises ConfigurationError with all problems of the file. One that is no TOML has one problem: the parser stops
    there.
    """
    document = parse(data, path, ConfigurationError)
    walk = _Walk(document.lines)
    content, policy = document.content, None
    inline = content.get(POLICY)
    if isinstance(inline, dict):
        content = {name: each for name, each in content.items() if name != POLICY}
        beneath = {at[1:]: line for at, line in document.lines.items() if at[:1] == (POLICY,)}
        policy, problems = policy_file.of_tables(inline, path, beneath)
        walk.problems += [
            FileProblem(each.line, f"{POLICY}.{each.key}", each.problem, each.allowed) for each in problems
        ]
    plain = walk.table(Configuration, content, ())
    if walk.problems:
        raise ConfigurationError(path, bounded(walk.problems))
    return ConfigurationFile(msgspec.convert(plain, Configuration), path, document.lines, policy)


class _Walk:
    """Goes over a document, and collects what it is made of and what is wrong with it."""

    def __init__(self, lines: Mapping[KeyPath, int]) -> None:
        self.lines = lines
        self.problems: list[FileProblem] = []

    def _wrong(self, path: KeyPath, name: str, problem: str, allowed: str = "") -> None:
        self.problems.append(FileProblem(line_of(self.lines, path), name, problem, allowed))

    def table(self, section: type[Section], raw: Mapping[str, object], path: KeyPath) -> dict[str, object]:
        """A table as its struct is made from it, without what is refused."""
        keys, before = keys_of(section), len(self.problems)
        plain: dict[str, object] = {}
        for name, value in raw.items():
            key = keys.get(name)
            if key is None:
                self._unknown(name, tuple(keys), (*path, name))
            else:
                self._value(key, value, (*path, name), plain)
        for key in keys.values():
            if key.required and key.name not in raw:
                self._wrong(path, _full((*path, key.name)), "it must be said", key.allowed)
        if len(self.problems) == before:
            self._whole(section, plain, path)
        return plain

    def _value(self, key: Key, raw: object, path: KeyPath, plain: dict[str, object]) -> None:
        if key.table is None:
            problem = refused(key.type, raw, secret=key.secret)
            if problem is None:
                plain[key.name] = raw
            else:
                self._wrong(path, _full(path), problem, key.allowed)
            return
        section = cast(type[Section], key.table.cls)
        if not key.many and isinstance(raw, dict):
            plain[key.name] = self.table(section, raw, path)
        elif not key.many or not isinstance(raw, list):
            self._wrong(
                path, _full(path), f"{shown(raw)} is no {'list of tables' if key.many else 'table'}", key.allowed
            )
        elif len(raw) > MOST_TABLES:
            self._wrong(path, _full(path), f"these are {len(raw)}", f"at most {MOST_TABLES}")
        else:
            plain[key.name] = [self._one_of_many(section, each, (*path, number)) for number, each in enumerate(raw)]

    def _one_of_many(self, section: type[Section], raw: object, path: KeyPath) -> dict[str, object]:
        if isinstance(raw, dict):
            return self.table(section, raw, path)
        self._wrong(path, _full(path), f"{shown(raw)} is no table", "tables in double brackets")
        return {}

    def _unknown(self, name: str, known: tuple[str, ...], path: KeyPath) -> None:
        like = meant(name, known, _elsewhere()) if len(self.problems) < MAX_PROBLEMS else ""
        self._wrong(path, named(_full(path)), f"there is no such key{like}", ", ".join(known))

    def _whole(self, section: type[Section], plain: dict[str, object], path: KeyPath) -> None:
        """What the table's own check says of its keys together."""
        try:
            msgspec.convert(plain, section)
        except msgspec.ValidationError as error:
            self._wrong(path, _full(path), str(error).partition(" - at `")[0])


def _full(path: KeyPath) -> str:
    """A key as messages name it: the element of an array of tables by its number, from 1 on."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _elsewhere() -> dict[str, str]:
    return {path[-1]: ".".join(path) for path, _ in all_keys()}


def all_keys(
    section: type[Section] = Configuration, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Every key with its path, in the order of a file: a table before what it holds."""
    for name, key in keys_of(section).items():
        yield (*path, name), key
        if key.table is not None:
            yield from all_keys(cast(type[Section], key.table.cls), (*path, name))


@dataclass(frozen=True, slots=True)
class Setting:
    """A key with the value that it has; ``path`` is where it stands. ``shown`` is the value as a file has it, empty for
    none, and nothing that is secret.
    """

    path: KeyPath
    key: Key
    shown: str

    @property
    def name(self) -> str:
        """As messages name it: ``webhook[1].url``."""
        return _full(self.path)


def settings(section: Section, path: KeyPath = ()) -> Iterator[Setting]:
    """Every key that holds a value, in the order of a file; those of tables in double brackets for each of them."""
    for name, key in keys_of(type(section)).items():
        value = getattr(section, key.field)
        if key.table is None:
            yield Setting((*path, name), key, written(_HIDDEN if key.secret and value else value))
        elif isinstance(value, Section):
            yield from settings(value, (*path, name))
        else:
            for number, each in enumerate(value or ()):
                yield from settings(each, (*path, name, number))


# --- what changed -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value is another, and when that holds."""

    key: str
    applies: Applies


def changes(before: Configuration, after: Configuration) -> tuple[Change, ...]:
    """What differs, in the order of a file. Tables in double brackets are one key. The policy is not looked at."""
    return tuple(
        Change(".".join(path), key.applies)
        for path, key, (one, other) in _pairs(before, after, ())
        if one != other and path != (POLICY,)
    )


def _pairs(
    before: Section, after: Section, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Key, tuple[object, object]]]:
    for name, key in keys_of(type(before)).items():
        one, other = getattr(before, key.field), getattr(after, key.field)
        if isinstance(one, Section) and isinstance(other, Section):
            yield from _pairs(one, other, (*path, name))
        else:
            yield (*path, name), key, (one, other)


# --- writing ----------------------------------------------------------------------------------------------------------

_HEAD: Final = """\
# Ringfence: what the service goes by. A key that is left out has its default.
# Check a file with: ringfence config check FILE. Load a changed one: ringfence config reload, or SIGHUP.
"""

_POLICY_TABLES: Final = """\

# The policy may stand here as well, in place of the key above: the tables that `ringfence policy default` prints, each
# with "policy." before its name.
# [policy]
# unlocated = "halt"
# [policy.budgets]
# pages_per_dimm = 16
# [[policy.domain]]
# name = "db-*"
"""


def write(configuration: Configuration, *, commented: bool = True) -> str:
    """A file that says everything that a configuration says: ``read(write(c))`` is ``c``, but for what is secret.

    ``commented``: each key with its meaning, what is allowed, and when a change applies.
    """
    text = (_HEAD if commented else "") + _section(configuration, (), commented=commented)
    return text.lstrip("\n")


def _section(section: Section, path: tuple[str, ...], *, commented: bool) -> str:
    keys = keys_of(type(section))
    text = "".join(
        _line(key, getattr(section, key.field), commented=commented)
        + (_POLICY_TABLES if commented and (*path, key.name) == (POLICY,) else "")
        for key in keys.values()
        if key.table is None
    )
    for key in keys.values():
        if key.table is None:
            continue
        value = getattr(section, key.field)
        tables = value if key.many else () if value is None else (value,)
        text += _tables(key, tables, (*path, key.name), commented=commented)
    return text


def _tables(key: Key, tables: tuple[Section, ...], path: tuple[str, ...], *, commented: bool) -> str:
    assert key.table is not None  # noqa: S101 (the caller has looked)
    name = ".".join(path)
    head = f"[[{name}]]\n" if key.many else f"[{name}]\n"
    text = "\n" + _comment(key.meaning) if commented else ""
    if not tables and commented:
        lines = (
            _comment(each.meaning) + f"# {each.name} = {written(each.default)}\n"
            for each in keys_of(cast(type[Section], key.table.cls)).values()
            if each.table is None
        )
        return f"{text}# {head}{''.join(lines)}"
    return text + "".join(
        (head if number == 0 or not commented else f"\n{head}")
        + _section(each, path, commented=commented and number == 0)
        for number, each in enumerate(tables)
    )


def _line(key: Key, value: object, *, commented: bool) -> str:
    text = "\n" + _comment(key.meaning) + _comment(_rules_of(key)) if commented else ""
    if value is None:
        return f"{text}# {key.name} =\n" if commented else ""
    return f"{text}{key.name} = {_toml(_HIDDEN if key.secret and value else value)}\n"


def _rules_of(key: Key) -> str:
    return f"Allowed: {key.allowed}. A change applies {key.applies}."


def written(value: object) -> str:
    """A key's value as it stands in a file; empty for none."""
    return "" if value is None else _toml(value)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return str(value)
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case dict():
            return f"{{ {', '.join(f'{json.dumps(name)} = {_toml(each)}' for name, each in value.items())} }}"
        case frozenset() | set():
            return _toml(sorted(value))
        case _:
            return f"[{', '.join(_toml(each) for each in cast(tuple[object, ...], value))}]"


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in wrap(text, 100))


# --- for editors ------------------------------------------------------------------------------------------------------


def schema() -> Schema:
    """The JSON Schema (2020-12) of a configuration file, the policy's own within it."""
    (_,), parts = msgspec.json.schema_components((Configuration,), ref_template="#/$defs/{name}")
    top = cast(Schema, _without_null(parts.pop(Configuration.__name__)))
    properties = cast(Schema, top["properties"])
    named_file = cast(Schema, properties[POLICY])
    policy = {name: each for name, each in policy_file.schema().items() if name != "$schema"}
    properties[POLICY] = {
        "description": named_file["description"],
        "anyOf": [{"type": "string"}, policy],
    }
    top["title"] = "The configuration of Ringfence"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "$defs": {name: _without_null(each) for name, each in sorted(parts.items())},
    }


def _without_null(part: object) -> object:
    """A part of a schema without null, which TOML has not."""
    match part:
        case {"anyOf": [one, {"type": "null"}], **rest}:
            kept = {name: value for name, value in rest.items() if value is not None}
            return {**cast(Schema, _without_null(one)), **cast(Schema, _without_null(kept))}
        case dict():
            return {name: _without_null(each) for name, each in part.items() if (name, each) != ("default", None)}
        case list():
            return [_without_null(each) for each in part]
        case _:
            return part
