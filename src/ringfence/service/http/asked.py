"""What a request asks for, from its path, query and body: checked against the route's struct, or a problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

import msgspec

from ringfence.service.http.problems import Problem, problem
from ringfence.service.http.routes import AnyRoute

_ADVICE: Final = "GET /api/v1/openapi.json describes every request with its fields and their bounds."


class Query(Protocol):
    """The parameters of a query: a name may be given more than once."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names and values, as they came."""
        ...


def asked_of(route: AnyRoute, path: Mapping[str, str], query: Query, body: bytes) -> msgspec.Struct | Problem:
    """What is asked for; unknown names, missing ones and values out of their bounds are told."""
    given: dict[str, str] = dict(path)
    for name, value in query.items():
        if name in given:
            return problem(HTTPStatus.BAD_REQUEST, f"{name!r} is given more than once", _ADVICE)
        given[name] = value
    try:
        if route.has_body:
            if given:
                return problem(
                    HTTPStatus.BAD_REQUEST, "this takes its parameters in the body, not in the query", _ADVICE
                )
            return msgspec.json.decode(body, type=route.asked)  # type: ignore[no-any-return]  # a struct, as declared
        return msgspec.convert(given, route.asked, strict=False)  # type: ignore[no-any-return]  # a struct, as declared
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return problem(HTTPStatus.BAD_REQUEST, f"this is no such request: {error}", _ADVICE)
