"""A policy as a TOML file: read with every error at its line, written with every key's meaning."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from textwrap import wrap
from typing import Final

import msgspec

from ringfence.decision.policy import Answer, DomainRule, Policy
from ringfence.decision.policy_keys import (
    BY_TABLE,
    KEYS,
    MAX_RULES,
    TABLE_MEANINGS,
    Key,
    Table,
    value_of,
)
from ringfence.decision.policy_kinds import Refused, Schema, shown
from ringfence.decision.toml_document import MAX_PROBLEMS, bounded, meant, named, parse
from ringfence.decision.toml_lines import KeyPath, line_of
from ringfence.errors import FileProblem, PolicyError


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy with where it comes from. ``lines`` has the line of each key that the file sets; it is empty, like
    ``path``, for the policy that holds without a file.
    """

    policy: Policy
    path: str = ""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def origin(self, key: Key, rule: int | None = None) -> str:
        """Where a key's value comes from: ``policy.toml:12`` or ``default``. ``rule`` is the rule's number, from 0."""
        table: KeyPath = (str(key.table),) if key.table else ()
        line = self.lines.get((*table, *(() if rule is None else (rule,)), key.name))
        return "default" if line is None else f"{self.path}:{line}"


# --- reading ----------------------------------------------------------------------------------------------------------


def read(data: bytes, path: str = "policy.toml") -> PolicyFile:
    """The policy that a file holds; ``path`` is what messages call it.

    Raises PolicyError with all problems of the file. One that is no TOML has one problem: the parser stops there.
    """
    document = parse(data, path, PolicyError)
    found, problems = of_tables(document.content, path, document.lines)
    if problems:
        raise PolicyError(path, bounded(problems))
    return found


def of_tables(
    content: Mapping[str, object], path: str, lines: Mapping[KeyPath, int]
) -> tuple[PolicyFile, tuple[FileProblem, ...]]:
    """The policy of tables that were read already, on these ``lines`` of the file at ``path``; and what is wrong with
    it: then the policy is the default.
    """
    walk = _Walk(lines)
    plain = walk.policy(content)
    if walk.problems:
        return PolicyFile(Policy(), path), tuple(walk.problems)
    return PolicyFile(msgspec.convert(plain, Policy), path, lines), ()


class _Walk:
    """Goes over a document, and collects what it is made of and what is wrong with it."""

    def __init__(self, found: Mapping[KeyPath, int]) -> None:
        self.lines = found
        self.problems: list[FileProblem] = []

    def policy(self, document: Mapping[str, object]) -> dict[str, object]:
        """The document as ``Policy`` is made from it, without what is refused."""
        plain: dict[str, object] = {}
        for name, raw in document.items():
            if name == Table.DOMAIN:
                plain["domains"] = self._rules(raw)
            elif name and name in set(Table):
                plain[name] = self._table(Table(name), raw, (name,))
            else:
                self._value(Table.TOP, name, raw, (name,), plain)
        return plain

    def _wrong(self, path: KeyPath, name: str, problem: str, allowed: str) -> None:
        self.problems.append(FileProblem(line_of(self.lines, path), name, problem, allowed))

    def _table(self, table: Table, raw: object, path: KeyPath) -> dict[str, object]:
        plain: dict[str, object] = {}
        if not isinstance(raw, dict):
            brackets = "[[domain]], once a rule" if table is Table.DOMAIN else f"[{table}]"
            self._wrong(path, table, f"{shown(raw)} is no table", f"a table {brackets}")
            return plain
        for name, value in raw.items():
            self._value(table, name, value, (*path, name), plain)
        if _has_no_operation(plain):
            self._wrong(
                (*path, "operations"), f"{table}.operations", "an answer is to operate, but no operation is allowed",
                'at least one operation, or another answer than "operate" and "notify-and-operate"',
            )  # fmt: skip
        return plain

    def _value(self, table: Table, name: str, raw: object, path: KeyPath, plain: dict[str, object]) -> None:
        key = BY_TABLE[table].get(name)
        if key is None:
            self._unknown(table, name, path)
            return
        value = key.kind.read(raw)
        if isinstance(value, Refused):
            reason = f" ({key.why})" if key.why and not value.of_form else ""
            self._wrong(path, key.path, value.problem, key.kind.allowed + reason)
        else:
            plain[key.field] = value

    def _unknown(self, table: Table, name: str, path: KeyPath) -> None:
        known = _names(table)
        like = meant(name, known, _ELSEWHERE) if len(self.problems) < MAX_PROBLEMS else ""
        full = named(f"{table}.{name}" if table else name)
        self._wrong(path, full, f"there is no such key{like}", ", ".join(known))

    def _rules(self, raw: object) -> list[dict[str, object]]:
        if not isinstance(raw, list):
            self._wrong((Table.DOMAIN,), Table.DOMAIN, f"{shown(raw)} is no list of rules", "[[domain]], once a rule")
            return []
        if len(raw) > MAX_RULES:
            self._wrong((Table.DOMAIN,), Table.DOMAIN, f"these are {len(raw)} rules", f"at most {MAX_RULES}")
            return []
        plain = [self._table(Table.DOMAIN, rule, (Table.DOMAIN, number)) for number, rule in enumerate(raw)]
        self._unreached(raw, plain)
        return plain

    def _unreached(self, raw: list[object], plain: list[dict[str, object]]) -> None:
        # A selector that was refused is not known: nothing is said of its rule.
        known = {
            number: msgspec.convert(rule, DomainRule)
            for number, (written, rule) in enumerate(zip(raw, plain, strict=True))
            if isinstance(written, dict) and all(name not in written or name in rule for name in _SELECTORS)
        }
        for later, earlier in unreached(known).items():
            first = line_of(self.lines, (Table.DOMAIN, earlier))
            self._wrong(
                (Table.DOMAIN, later), Table.DOMAIN,
                f"this rule is never reached: the one on line {first} matches every domain that it matches",
                "the special rule first, the general one after it",
            )  # fmt: skip


_SELECTORS: Final = ("name", "uuid", "labels")
"""The keys by which a rule says which domains it is about; the fields are called the same."""


def unreached(rules: Mapping[int, DomainRule]) -> dict[int, int]:
    """Which rules, by their number, never match because an earlier one always does; and that one's number."""
    found: dict[int, int] = {}
    numbers = sorted(rules)
    # The earlier rule outside: its pattern is then compiled once.
    for at, earlier in enumerate(numbers):
        for later in numbers[at + 1 :]:
            if later not in found and _covers(rules[earlier], rules[later]):
                found[later] = earlier
    return found


def _covers(earlier: DomainRule, later: DomainRule) -> bool:
    """Whether the earlier rule surely matches whatever the later one matches."""
    if earlier.uuid not in {"", later.uuid} or not earlier.labels <= later.labels:
        return False
    literal = not any(mark in later.name for mark in "*?[")
    return earlier.name in {"*", later.name} or (literal and fnmatchcase(later.name, earlier.name))


def _has_no_operation(rule: Mapping[str, object]) -> bool:
    answers = {rule.get("on_ue"), rule.get("on_srar")}
    return rule.get("operations") == [] and not answers.isdisjoint({Answer.OPERATE, Answer.BOTH})


_ELSEWHERE: Final = {key.name: key.path for key in KEYS}


def _names(table: Table) -> list[str]:
    """The keys that a table may hold, tables among them."""
    return [*BY_TABLE[table], *(each.value for each in Table if each and table is Table.TOP)]


# --- writing ----------------------------------------------------------------------------------------------------------

_HEAD: Final = """\
# Ringfence: what is done about machine checks. A key that is left out has its default.
# Durations: a number with ms, s, min or h. Check a file with: ringfence policy check FILE
"""

_EXAMPLE: Final = """\
# [[domain]]
# name = "db-*"
# on_ue = "operate"
# operations = ["migrate", "restore"]
# keep = 5.0
"""


def write(policy: Policy) -> str:
    """A file that says everything that a policy says, each key with its meaning: ``read(write(policy))`` is the policy.

    Only a policy that a file can hold can be written: of another, ``read`` will refuse what this gives.
    """
    host = [_written(table, policy, None, commented=True) for table in Table if table is not Table.DOMAIN]
    rules = [_written(Table.DOMAIN, policy, rule, commented=number == 0) for number, rule in enumerate(policy.domains)]
    return "\n".join((_HEAD, *host, *(rules or [_comment(TABLE_MEANINGS[Table.DOMAIN]) + _EXAMPLE])))


def _written(table: Table, policy: Policy, rule: DomainRule | None, *, commented: bool) -> str:
    head = {Table.TOP: "", Table.DOMAIN: "[[domain]]\n"}.get(table, f"[{table}]\n")
    text = (_comment(TABLE_MEANINGS[table]) if commented else "") + head
    for key in BY_TABLE[table].values():
        if commented:
            text += "\n" + _comment(key.meaning) + _comment(f"Allowed: {key.kind.allowed}.")
        text += f"{key.name} = {key.kind.write(value_of(key, policy, rule))}\n"
    return text


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in wrap(text, 100))


# --- for editors ------------------------------------------------------------------------------------------------------


def schema() -> Schema:
    """The JSON Schema (2020-12) of a policy file, for editors that complete and check TOML by one.

    It knows forms and ranges of numbers; ranges of durations and contradictions between keys are found by ``read``.
    """
    tables: Schema = {
        str(table): {"description": TABLE_MEANINGS[table], **_object(table)}
        for table in Table
        if table not in {Table.TOP, Table.DOMAIN}
    }
    rules = {"type": "array", "maxItems": MAX_RULES, "items": _object(Table.DOMAIN)}
    tables[Table.DOMAIN.value] = {"description": TABLE_MEANINGS[Table.DOMAIN], **rules}
    top = _object(Table.TOP, tables)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A policy of Ringfence", **top}


def _object(table: Table, more: Schema | None = None) -> Schema:
    properties = {
        name: {"description": f"{key.meaning} Allowed: {key.kind.allowed}.", "default": default_of(key)}
        | key.kind.schema()
        for name, key in BY_TABLE[table].items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties | (more or {})}


def default_of(key: Key) -> object:
    """A key's default as JSON and TOML have it."""
    return tomllib.loads(f"x = {key.kind.write(key.default)}")["x"]
