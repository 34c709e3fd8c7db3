"""What a request asks for, from its path, query and body: checked against the route's struct, or a problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Final, Protocol

import msgspec
from msgspec import inspect

from ringfence.service.http.problems import Problem, problem
from ringfence.service.http.routes import AnyRoute

_ADVICE: Final = "GET /api/v1/openapi.json describes every request with its fields and their bounds."
_FAULTS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Query(Protocol):
    """The parameters of a query: a name may be given more than once."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names and values, as they came."""
        ...


def asked_of(route: AnyRoute, path: Mapping[str, str], query: Query, body: bytes) -> msgspec.Struct | Problem:
    """What is asked for; unknown names, missing ones and values out of their bounds are told."""
    asked: type[msgspec.Struct] = route.asked
    given: dict[str, object] = {}
    for name, value in (*path.items(), *query.items()):
        if name in given:
            return _wrong(f"{name!r} is given more than once")
        given[name] = value if name in _words(asked) else _number(value)
    if route.has_body and given:
        return _wrong("this takes what it is asked for in the body, not in the query")
    try:
        if route.has_body:
            return msgspec.json.decode(body, type=asked)
        return msgspec.convert(given, asked)
    except _FAULTS as error:
        return _wrong(f"this is no such request: {error}")


@cache
def _words(asked: type[msgspec.Struct]) -> frozenset[str]:
    """The fields whose values are words: they are taken as they stand."""
    info = inspect.type_info(asked)
    assert isinstance(info, inspect.StructType)  # noqa: S101 (of a struct; narrowed for the type checker)
    return frozenset(each.encode_name for each in info.fields if _is_word(each.type))


def _is_word(kind: inspect.Type) -> bool:
    match kind:
        case inspect.Metadata(type=within):
            return _is_word(within)
        case inspect.UnionType(types=types):
            return any(map(_is_word, types))
        case _:
            return isinstance(kind, inspect.StrType | inspect.EnumType | inspect.LiteralType)


def _number(value: str) -> object:
    """A number, true or false, written as JSON writes it; anything else stays a word, and is none of them."""
    try:
        found = msgspec.json.decode(value) if value == value.strip() else value
    except (*_FAULTS, UnicodeEncodeError):
        return value
    return value if found is None else found


def _wrong(detail: str) -> Problem:
    return problem(HTTPStatus.BAD_REQUEST, detail, _ADVICE)
