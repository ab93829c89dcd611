"""The OpenAPI 3.1 document, from which clients and tests are generated.

Generators decide its form. HEAD is left out, because they make a second function of each operation from it.
JSONP is left out too: its response is a script, so that each response would have two types. Descriptions say
what JSON Schema cannot: that a range must not end before it starts.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from fx_pipeline.api.contract.parameters import CALLBACK_NAME, ref
from fx_pipeline.api.contract.schemas import error_schema, schemas
from fx_pipeline.api.endpoints.operation import Operation, Parameter, Schema, Stored
from fx_pipeline.api.errors import KINDS, ErrorKind

ALWAYS = (401, 403, 414, 500, 503)
"""The statuses that any request about rates may get."""


def document(operations: Sequence[Operation[Any]], stored: Stored, prefix: str = "") -> Schema:
    """Return the document of an instance with these operations and this data, behind a path prefix."""
    groups = {operation.errors.name: operation.errors.kinds for operation in operations if operation.errors}
    links = [operation.link.name for operation in operations if operation.link]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Foreign-exchange rates",
            "version": version("fx-pipeline"),
            "summary": "Daily exchange rates in Fixer's own protocol, with every value that was revised.",
            "description": "Read-only: GET, and HEAD for the headers only. A slash at the end of a path "
            "makes no difference. An unknown parameter is an error, but `access_key`, `apikey`, `_` and "
            "`utm_...` are ignored. A currency is `USD` or `usd`, but not in mixed case: `GBp` is pence.",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix or "/"}],
        # The empty entry comes first: some instances need no token.
        "security": [{}, *({name: []} for name in _CARRIERS)],
        "tags": [tag._asdict() for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": {operation.path: {"get": _get(operation)} for operation in operations},
        "components": {
            "schemas": schemas(stored, links),
            "parameters": _parameters(operations, stored),
            "headers": _HEADERS,
            "responses": {
                "NotModified": {
                    "description": "The client already has this response.",
                    "headers": _CACHEABLE,
                },
                "Unhealthy": _response("The database cannot be read.", "Unhealthy"),
                **{f"Error{status}": _error(_with_status(status, KINDS)) for status in ALWAYS},
                **{
                    f"{name}{status}": _error(_with_status(status, kinds))
                    for name, kinds in groups.items()
                    for status in _statuses(kinds)
                },
            },
            "securitySchemes": _CARRIERS,
        },
    }


def parameter_object(parameter: Parameter, stored: Stored) -> Schema:
    """Return the description of a parameter, with an example that works."""
    return {
        "name": parameter.name,
        "in": parameter.place,
        # An optional parameter may also be empty, as forms send it.
        **({"required": True} if parameter.required else {"allowEmptyValue": True}),
        "description": parameter.description,
        "schema": parameter.schema,
        "example": parameter.example(stored),
        **({"style": "form", "explode": False} if parameter.schema.get("type") == "array" else {}),
    }


def _parameters(operations: Sequence[Operation[Any]], stored: Stored) -> dict[str, Schema]:
    described = {
        parameter.key: parameter_object(parameter, stored)
        for operation in operations
        for parameter in _parameters_of(operation)
    }
    return {**described, "If-None-Match": _IF_NONE_MATCH}


_IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of the response that the client has.",
    "schema": {"type": "string"},
}

_CARRIERS: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer TOKEN`"},
    "access_key": {
        "type": "apiKey",
        "in": "query",
        "name": "access_key",
        "description": "As clients of Fixer send it.",
    },
    "apikey": {
        "type": "apiKey",
        "in": "header",
        "name": "apikey",
        "description": "As clients of APILayer send it.",
    },
}

_HEADERS: dict[str, Schema] = {
    "ETag": {
        "required": True,
        "description": "Changes with the content. A request with it as `If-None-Match` may get a 304.",
        "schema": {"type": "string", "pattern": '^W/"[0-9a-f]{32}"$'},
    },
    "CacheControl": {
        "required": True,
        "description": "How long a cache may store it: complete settled days for a day, others for a minute.",
        "schema": {"type": "string", "pattern": "^(public, max-age=[0-9]+|(private, )?no-store)$"},
    },
    "Vary": {
        "required": True,
        "description": "The request headers that the response depends on.",
        "schema": {"type": "string", "pattern": "(^|, )Accept-Encoding(,|$)"},
    },
    "AnyOrigin": {
        "required": True,
        "description": "Every web page may read this API.",
        "schema": {"type": "string", "const": "*"},
    },
    "RequestId": {
        "description": "The id of the request in the log of the server. A cached response has it only "
        "if the client sent one.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    },
    "Missing": {
        "description": "The currencies in `missing`, with the first and the last day of each.",
        "schema": {"type": "string", "pattern": r"^[A-Z]{3}=[0-9-]{10}\.\.[0-9-]{10}(, |$)"},
    },
    "MissingDays": {
        "description": "The number of days of the range that are not stored, up to yesterday.",
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    },
    "Challenge": {
        "required": True,
        "description": "How to send a token.",
        "schema": {"type": "string", "pattern": "^Bearer"},
    },
    "RetryAfter": {
        "required": True,
        "description": "Seconds after which to retry.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}
_HEADERS_OF_ERRORS = {
    401: {"WWW-Authenticate": ref("headers", "Challenge")},
    503: {"Retry-After": ref("headers", "RetryAfter")},
}
_CONTENT = {"Csv": "text/csv", "Html": "text/html", "Metrics": "text/plain"}
_COMMON = {
    "Cache-Control": ref("headers", "CacheControl"),
    "Vary": ref("headers", "Vary"),
    "Access-Control-Allow-Origin": ref("headers", "AnyOrigin"),
    "X-Request-Id": ref("headers", "RequestId"),
}
_CACHEABLE = {
    "ETag": ref("headers", "ETag"),
    "X-Missing-Rates": ref("headers", "Missing"),
    "X-Missing-Days": ref("headers", "MissingDays"),
    **_COMMON,
}


def _get(operation: Operation[Any]) -> Schema:
    responses = _health_responses(operation) if operation.is_health_check else _responses(operation)
    keys = [parameter.key for parameter in _parameters_of(operation)]
    if "304" in responses:
        keys.append("If-None-Match")
    return {
        "operationId": operation.name,
        "tags": [operation.tag.name],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [ref("parameters", key) for key in keys],
        "responses": responses,
        **({"security": []} if operation.is_health_check else {}),
    }


def _parameters_of(operation: Operation[Any]) -> list[Parameter]:
    return [parameter for parameter in operation.parameters if parameter is not CALLBACK_NAME]


def _responses(operation: Operation[Any]) -> dict[str, Schema]:
    group = operation.errors
    own = {f"{group.name}{status}": status for status in _statuses(group.kinds)} if group else {}
    always = {f"Error{status}": status for status in ALWAYS}
    success = _response("The response.", operation.response)
    if operation.has_own_view:
        found = {"200": success}
    else:
        found = {"200": {**success, "headers": _CACHEABLE}, "304": ref("responses", "NotModified")}
    return {
        **found,
        **{str(status): ref("responses", name) for name, status in {**own, **always}.items()},
    }


def _health_responses(operation: Operation[Any]) -> dict[str, Schema]:
    unhealthy = ref("responses", "Unhealthy")
    if operation.response == "Freshness":
        unhealthy = _response(
            "The latest day is too old, or the database cannot be read.", "Freshness", "Unhealthy"
        )
    if operation.response == "Readiness":
        unhealthy = _response("The reader lags, or the database cannot be read.", "Readiness", "Unhealthy")
    return {"200": _response("The response.", operation.response), "503": unhealthy}


def _response(description: str, *answers: str) -> Schema:
    shapes = [ref("schemas", answer) for answer in answers]
    content = _CONTENT.get(answers[0], "application/json")
    return {
        "description": description,
        "headers": _COMMON,
        "content": {content: {"schema": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}}},
    }


def _error(kinds: Iterable[ErrorKind]) -> Schema:
    kinds = tuple(kinds)
    own = _HEADERS_OF_ERRORS.get(kinds[0].status, {})
    return {
        "description": "; ".join(f"{kind.code} `{kind.type}`" for kind in kinds),
        "headers": {**_COMMON, **own},
        "content": {"application/json": {"schema": error_schema(kinds)}},
    }


def _statuses(kinds: Iterable[ErrorKind]) -> list[int]:
    return sorted({kind.status for kind in kinds})


def _with_status(status: int, kinds: Iterable[ErrorKind]) -> tuple[ErrorKind, ...]:
    return tuple(kind for kind in kinds if kind.status == status)
