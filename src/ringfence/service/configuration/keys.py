"""The keys of the configuration, as its types declare them: what each means, what is allowed, when it applies.

Everything that is said of a key comes from here: checks, ``ringfence config default`` and ``explain``, and the words of
a reload.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from typing import Final

import msgspec
from msgspec import inspect

from ringfence.decision.policy_kinds import shown
from ringfence.errors import DeclarationError
from ringfence.service.configuration.section import Applies, Section

_HIDDEN: Final = "what stands there"
"""A secret, in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key, or one table: then ``table`` is its type. ``many``: it stands in double brackets, as often as wanted.

    ``field`` is the name of the attribute that holds its value. ``default`` is None too where the key has none
    (``required``).
    """

    name: str
    field: str
    type: inspect.Type
    meaning: str
    default: object
    required: bool
    applies: Applies
    secret: bool
    table: inspect.StructType | None
    many: bool

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.table is not None:
            return f"[[{self.name}]], as often as wanted" if self.many else f"a table [{self.name}]"
        return allowed(self.type)


@cache
def keys_of(section: type[Section]) -> Mapping[str, Key]:
    """The keys of a table, by the names that a file gives them. Raises DeclarationError for a type that none can be."""
    found = inspect.type_info(section)
    assert isinstance(found, inspect.StructType)  # noqa: S101 (a Section is one)
    return {each.encode_name: _key(each) for each in found.fields}


def _key(field: inspect.Field) -> Key:
    said = field.type.extra_json_schema or {} if isinstance(field.type, inspect.Metadata) else {}
    extra = field.type.extra or {} if isinstance(field.type, inspect.Metadata) else {}
    kind = _bare(field.type)
    many = isinstance(kind, inspect.VarTupleType) and isinstance(_bare(kind.item_type), inspect.StructType)
    inner = _bare(kind.item_type) if isinstance(kind, inspect.VarTupleType) and many else kind
    table = inner if isinstance(inner, inspect.StructType) else None
    default = field.default if field.default is not msgspec.NODEFAULT else None
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    if table is None:
        allowed(kind)  # a declaration that cannot be told to people is found by whoever looks at any key
    return Key(
        name=field.encode_name,
        field=field.name,
        type=field.type,
        meaning=str(said.get("description", "")) or (meaning_of(table.cls) if table is not None else ""),
        default=default,
        required=field.required,
        applies=Applies(str(extra.get("applies", Applies.AT_RESTART))),
        secret=bool(extra.get("secret", False)),
        table=table,
        many=many,
    )


def meaning_of(section: type) -> str:
    """What a table is about: the first paragraph of its docstring, as one line."""
    return " ".join(cleandoc(section.__doc__ or "").split("\n\n")[0].replace("``", "`").split())


def _bare(kind: inspect.Type) -> inspect.Type:
    """A type without its annotations; of "this or nothing", this."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        some = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        return _bare(some[0]) if len(some) == 1 else kind
    return kind


# --- values in words --------------------------------------------------------------------------------------------------


def allowed(kind: inspect.Type) -> str:
    """What may stand in a key's place, in words. Raises DeclarationError for a type that TOML cannot hold."""
    match kind := _bare(kind):
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range(kind)
        case inspect.FloatType():
            return "a number" + _range(kind)
        case inspect.StrType():
            return _text_of(kind)
        case inspect.EnumType():
            return _one_of([each.value for each in kind.cls])
        case inspect.LiteralType():
            return _one_of(list(kind.values))
        case inspect.VarTupleType() | inspect.ListType() | inspect.FrozenSetType() | inspect.SetType():
            most = f" of at most {kind.max_length}" if kind.max_length is not None else ""
            return f"an array{most}, each {allowed(kind.item_type)}"
        case inspect.DictType():
            return f"a table of names, each with {allowed(kind.value_type)}"
        case _:
            raise DeclarationError(f"the configuration cannot hold {kind!r}")


def _one_of(words: list[object]) -> str:
    return f"one of {', '.join(msgspec.json.encode(each).decode() for each in words)}"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    least, most = _first(kind.ge, kind.gt), _first(kind.le, kind.lt)
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}" if isinstance(kind, inspect.FloatType) else f" from {least} to {most}"
    if least is not None:
        return f", {'more than' if kind.ge is None else 'at least'} {least}"
    return f", {'less than' if kind.le is None else 'at most'} {most}" if most is not None else ""


def _first(one: float | None, other: float | None) -> float | None:
    return one if one is not None else other


def _text_of(kind: inspect.StrType) -> str:
    form = f" of the form {kind.pattern}" if kind.pattern is not None else ""
    if kind.min_length is None and kind.max_length is None:
        return f"a text in quotes{form}"
    least = kind.min_length or 0
    span = f"at least {least}" if kind.max_length is None else f"{least} to {kind.max_length}"
    return f"a text in quotes of {span} characters" + (f" and{form}" if form else "")


def refused(kind: inspect.Type, raw: object, *, secret: bool = False) -> str | None:
    """What is wrong with a value, as a sentence; None if it may stand there. A ``secret`` is not repeated."""
    if isinstance(raw, dict) and isinstance(_bare(kind), inspect.DictType):
        inner = _bare(kind)
        assert isinstance(inner, inspect.DictType)  # noqa: S101 (asked in the line before)
        return _first_refused(((shown(name), each) for name, each in raw.items()), inner.value_type, secret=secret)
    what = _HIDDEN if secret else shown(raw)
    match kind := _bare(kind):
        case inspect.BoolType():
            return None if isinstance(raw, bool) else f"{what} is neither true nor false"
        case inspect.IntType():
            return _number(kind, raw, what) if type(raw) is int else f"{what} is no whole number"
        case inspect.FloatType():
            is_number = isinstance(raw, int | float) and not isinstance(raw, bool) and raw == raw  # no NaN # noqa: PLR0124
            return _number(kind, raw, what) if is_number else f"{what} is no number"
        case inspect.StrType():
            return _text(kind, raw, what) if isinstance(raw, str) else f"{what} is no text"
        case inspect.EnumType():
            return None if raw in [each.value for each in kind.cls] else f"{what} is none of them"
        case inspect.LiteralType():
            return None if raw in kind.values else f"{what} is none of them"
        case inspect.VarTupleType() | inspect.ListType() | inspect.FrozenSetType() | inspect.SetType():
            if not isinstance(raw, list):
                return f"{what} is no array"
            if kind.max_length is not None and len(raw) > kind.max_length:
                return f"these are {len(raw)}"
            if kind.min_length is not None and len(raw) < kind.min_length:
                return f"these are {len(raw)} only"
            named = ((f"number {number}", each) for number, each in enumerate(raw, 1))
            return _first_refused(named, kind.item_type, secret=secret)
        case _:
            return f"{what} is no table"


def _first_refused(named: Iterator[tuple[str, object]], kind: inspect.Type, *, secret: bool) -> str | None:
    for name, each in named:
        if (problem := refused(kind, each, secret=secret)) is not None:
            return f"{name}: {problem}"
    return None


def _number(kind: inspect.IntType | inspect.FloatType, raw: object, what: str) -> str | None:
    assert isinstance(raw, int | float)  # noqa: S101 (the caller has looked)
    if (kind.ge is not None and raw < kind.ge) or (kind.gt is not None and raw <= kind.gt):
        return f"{what} is too small"
    if (kind.le is not None and raw > kind.le) or (kind.lt is not None and raw >= kind.lt):
        return f"{what} is too large"
    return None


def _text(kind: inspect.StrType, raw: str, what: str) -> str | None:
    if kind.min_length is not None and len(raw) < kind.min_length:
        return f"{what} is too short"
    if kind.max_length is not None and len(raw) > kind.max_length:
        return f"{what} is too long"
    if kind.pattern is not None and re.search(kind.pattern, raw) is None:
        return f"{what} is not of that form"
    return None if raw.isprintable() else f"{what} holds what cannot be printed"
