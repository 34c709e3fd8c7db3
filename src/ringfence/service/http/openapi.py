"""The API's own description, OpenAPI 3.1, from the table of routes and the structs that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from ringfence import __version__
from ringfence.service.http import problems
from ringfence.service.http.problems import Problem
from ringfence.service.http.routes import AnyRoute, Method, Nothing
from ringfence.service.http.sessions import COOKIE, CSRF_HEADER

Json = dict[str, object]

VERSION: Final = "3.1.0"

_ALWAYS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.TOO_MANY_REQUESTS)
_NEEDING: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE
)  # fmt: skip
_SAID: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "This is no request: a field is missing, unknown, or out of its bounds.",
    HTTPStatus.UNAUTHORIZED: "A token is needed, and none was shown, or a wrong one.",
    HTTPStatus.FORBIDDEN: "The token lacks the scope, or the session's CSRF token was not said.",
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not come in time.",
    HTTPStatus.CONFLICT: "It was checked and refused: nothing was done.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not JSON.",
    HTTPStatus.MISDIRECTED_REQUEST: "The name in the header Host is none of this service's.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too often; Retry-After says when.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The service is too busy, or is ending; Retry-After says when.",
}


def statuses(route: AnyRoute) -> tuple[HTTPStatus, ...]:
    """Every status beside success that a route may answer with."""
    found = {*_ALWAYS, *route.refuses, HTTPStatus.SERVICE_UNAVAILABLE}
    found |= set(_NEEDING) if route.needs is not None else set()
    found |= set(_WITH_BODY) if route.has_body else set()
    found |= {HTTPStatus.FORBIDDEN} if route.method is not Method.GET else set()
    return tuple(sorted(found))


def description(routes: Iterable[AnyRoute]) -> Json:
    """The whole description."""
    table = tuple(routes)
    bodies = {each.asked for each in table if each.has_body}
    kinds = dict.fromkeys([Problem, *bodies, *(each.answers for each in table if each.answers is not None)])
    _, components = msgspec.json.schema_components(
        sorted(kinds, key=lambda kind: kind.__name__), ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Json] = {}
    for each in table:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Ringfence",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Machine-check evidence of one host, what is decided about it, and what becomes of it. "
            "Problems are as RFC 9457 has them, each with an advice.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `ringfence token create`. Not needed on a unix socket.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "A session that a token began. A change says its CSRF token in the header "
                    f"{CSRF_HEADER.title()} as well.",
                },
            },
        },
    }


def _operation(route: AnyRoute) -> Json:
    found: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [] if route.has_body else _parameters(route),
        "responses": {"200": _success(route), **{str(int(each)): _problem(each) for each in statuses(route)}},
    }
    if route.has_body:
        schema = _reference(route.asked)
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.needs is not None:
        found["security"] = [{"token": []}, {"session": []}]
        found["x-ringfence-scope"] = route.needs
    return found


def _success(route: AnyRoute) -> Json:
    schema = _reference(route.answers) if route.answers is not None else {"type": "string"}
    return {"description": "Done.", "content": {route.media: {"schema": schema}}}


def _problem(status: HTTPStatus) -> Json:
    return {"description": _SAID[status], "content": {problems.MEDIA: {"schema": _reference(Problem)}}}


def _reference(kind: type) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _parameters(route: AnyRoute) -> list[Json]:
    """The fields of what is asked for, each in the path or the query."""
    if route.asked is Nothing:
        return []
    _, found = msgspec.json.schema_components([route.asked], ref_template="#/components/schemas/{name}")
    own = found[route.asked.__name__]
    required = own.get("required", [])
    parameters: list[Json] = []
    for name, schema in own["properties"].items():
        kept = {
            key: value for key, value in schema.items() if key not in {"description", "default"} or value is not None
        }
        parameters.append(
            {
                "name": name,
                "in": "path" if name in route.in_path else "query",
                "required": name in required or name in route.in_path,
                "description": kept.pop("description", ""),
                "schema": kept,
            }
        )
    return parameters
