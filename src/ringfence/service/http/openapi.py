"""The API's own description, OpenAPI 3.1, from the table of routes and the structs that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from inspect import cleandoc
from typing import Final

import msgspec

from ringfence import __version__
from ringfence.service.http import problems
from ringfence.service.http.problems import Problem
from ringfence.service.http.routes import JSON, AnyRoute, Method, Nothing
from ringfence.service.http.sessions import COOKIE, CSRF_HEADER

Json = dict[str, object]

VERSION: Final = "3.1.0"

_REFERENCE: Final = "#/components/schemas/{name}"

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
    schemas, components = _schemas(table)
    paths: dict[str, Json] = {}
    for each in table:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
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
            "schemas": {name: _dedented(each) for name, each in components.items()},
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


def _dedented(component: Json) -> Json:
    """A component whose description is as Python 3.13 has docstrings: without the indentation of the source."""
    said = component.get("description")
    return component | {"description": cleandoc(said).replace("``", "`")} if isinstance(said, str) else component


def _schemas(table: Iterable[AnyRoute]) -> tuple[Mapping[type, Json], Mapping[str, Json]]:
    """The schema of each struct that routes name, and the components that these refer to."""
    bodies = (each.asked for each in table if each.has_body)
    answers = (each.answers for each in table if each.answers is not None)
    kinds: dict[type, None] = dict.fromkeys((Problem, *bodies, *answers))
    found, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    return dict(zip(kinds, found, strict=True)), components


def _operation(route: AnyRoute, schemas: Mapping[type, Json]) -> Json:
    refused = {str(int(each)): _response(_SAID[each], problems.MEDIA, schemas[Problem]) for each in statuses(route)}
    otherwise: Json = {"type": "object" if route.media == JSON else "string"}
    schema = schemas[route.answers] if route.answers is not None else otherwise
    found: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [] if route.has_body else _parameters(route),
        "responses": {"200": _response("Done.", route.media, schema), **refused},
    }
    if route.has_body:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[route.asked]}}}
    if route.needs is not None:
        found["security"] = [{"token": []}, {"session": []}]
        found["x-ringfence-scope"] = route.needs
    return found


def _response(said: str, media: str, schema: Json) -> Json:
    return {"description": said, "content": {media: {"schema": schema}}}


def _parameters(route: AnyRoute) -> list[Json]:
    """The fields of what is asked for, each in the path or the query."""
    if route.asked is Nothing:
        return []
    (own,), found = msgspec.json.schema_components([route.asked], ref_template=_REFERENCE)
    declared = found[str(own["$ref"]).rpartition("/")[2]]
    return [
        _parameter(name, schema, in_path=name in route.in_path, required=name in declared.get("required", ()))
        for name, schema in declared["properties"].items()
    ]


def _parameter(name: str, schema: Json, *, in_path: bool, required: bool) -> Json:
    """One of them. What may be None may be left out: a query has no word for it."""
    forms = schema.get("anyOf", [schema])
    assert isinstance(forms, list)  # noqa: S101 (JSON Schema's; narrowed for the type checker)
    (kept,) = (dict(form) for form in forms if form != {"type": "null"})
    said = kept.pop("description", "")
    return {
        "name": name,
        "in": "path" if in_path else "query",
        "required": required or in_path,
        **({"description": said} if said else {}),
        "schema": kept,
    }
