"""What the API does, as an OpenAPI 3.1 document: exact enough to generate tests and clients from.

It describes one instance: the currencies are those that are stored, and the dates are those from the oldest
stored day to the newest. So what it calls valid has an answer, as a rule. What JSON Schema cannot say (that a
range must not end before it starts) is said in words.
"""

import datetime as dt
from collections.abc import Iterable
from importlib.metadata import version

from fx_pipeline.api.contract.operations import ALWAYS, ERRORS, KINDS, OPERATIONS, Operation
from fx_pipeline.api.contract.schemas import Schema, Stored, error_schema, ref, schemas
from fx_pipeline.api.endpoints.parameters import CALLBACK, LARGEST_AMOUNT, LONGEST_CALLBACK
from fx_pipeline.api.errors import Kind
from fx_pipeline.rates import FIRST_DATE


def document(stored: Stored) -> Schema:
    """The document of an instance that has this."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Foreign-exchange rates",
            "version": version("fx-pipeline"),
            "summary": "Daily rates of exchange in Fixer's own protocol, with every value that was revised.",
            "description": "Read-only. Every path answers the same with and without a slash at its end. "
            "A parameter that an operation does not have is an error; `access_key`, `apikey`, `_` and "
            "`utm_...` are ignored. A currency is `USD` or `usd`, and not in mixed letters: `GBp` is pence.",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        # Nothing at all first: a token is needed only where the instance asks for one.
        "security": [{}, *({name: []} for name in _CARRIERS)],
        "paths": {operation.path: _path_item(operation) for operation in OPERATIONS},
        "components": {
            "schemas": schemas(stored),
            "parameters": parameters(stored),
            "headers": _HEADERS,
            "responses": {
                "NotModified": {
                    "description": "What the client has is what there is.",
                    "headers": _CACHEABLE,
                },
                "Unhealthy": _response("The database cannot be read.", "Unhealthy"),
                **{f"Error{status}": _error(_with_status(status, KINDS)) for status in ALWAYS},
                **{
                    f"{name}{status}": _error(_with_status(status, kinds))
                    for name, kinds in ERRORS.items()
                    for status in _statuses(kinds)
                },
            },
            "securitySchemes": _CARRIERS,
        },
    }


def parameters(stored: Stored) -> dict[str, Schema]:
    """Every parameter by the name that `OPERATIONS` uses, each with an example that has an answer."""
    usual = (
        [code for code in ("USD", "GBP", "JPY") if code in stored.codes] or sorted(stored.codes) or ["USD"]
    )
    last = stored.newest or FIRST_DATE
    first = max(stored.first or FIRST_DATE, last - dt.timedelta(days=2)).isoformat()
    date, currency = ref("schemas", "Date"), ref("schemas", "Currency")
    instant = {"anyOf": [ref("schemas", "PastDate"), ref("schemas", "PastInstant")]}
    amount = {"type": "number", "minimum": float(1 / LARGEST_AMOUNT), "maximum": float(LARGEST_AMOUNT)}
    listed = {"type": "array", "items": currency}
    return {
        "day": _in_path("date", "The day.", last.isoformat()),
        "start": _in_path("start", "The first day.", first),
        "end": _in_path("end", "The last day.", last.isoformat()),
        "start_date": _needed("start_date", date, "The first day.", first),
        "end_date": _needed("end_date", date, "The last day.", last.isoformat()),
        "date": _optional("date", date, "The day; without it, the newest.", last.isoformat()),
        "from": _needed("from", currency, "The currency of the amount.", usual[1 % len(usual)]),
        "to": _needed("to", currency, "The currency to convert to.", usual[0]),
        "amount": _needed("amount", amount, "How much of it.", 25),
        "units": _optional(
            "amount", amount, "How many units of the base the rates are for; without it, one.", 100
        ),
        "base_from": _optional("from", currency, "The same as `base`, as Frankfurter calls it.", usual[0]),
        "symbols_to": {
            **_optional("to", listed, "The same as `symbols`, as Frankfurter calls it.", usual[-2:]),
            "style": "form",
            "explode": False,
        },
        "format": _optional("format", {"enum": [0, 1]}, "1: the document is indented, for people.", 1),
        "callback": _optional(
            "callback",
            {"type": "string", "pattern": f"^{CALLBACK.pattern}$", "maxLength": LONGEST_CALLBACK},
            "JSONP: the document as a script that calls this function; errors have the status 200 too. For "
            "reads that need no token, from pages of other sites.",
            "show",
        ),
        "base": _optional(
            "base", currency, "What all rates are for one unit of; without it, the stored base.", usual[0]
        ),
        "symbols": {
            **_optional(
                "symbols",
                listed,
                "Only these, in this order; without it, all, in alphabetical order.",
                usual[-2:],
            ),
            "style": "form",
            "explode": False,
        },
        "as_of": _optional(
            "as_of",
            instant,
            "What this API would have answered then: an instant, or a day (its end, UTC).",
            (stored.today or last).isoformat(),
        ),
        "If-None-Match": {
            "name": "If-None-Match",
            "in": "header",
            "description": "The ETag of what the client has.",
            "schema": {"type": "string"},
        },
    }


_CARRIERS: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer TOKEN`"},
    "access_key": {
        "type": "apiKey",
        "in": "query",
        "name": "access_key",
        "description": "As Fixer's clients.",
    },
    "apikey": {"type": "apiKey", "in": "header", "name": "apikey", "description": "As APILayer's clients."},
}

_HEADERS: dict[str, Schema] = {
    "ETag": {
        "required": True,
        "description": "Changes with the content. A request with it as `If-None-Match` is answered 304.",
        "schema": {"type": "string", "pattern": '^W/"[0-9a-f]{32}"$'},
    },
    "CacheControl": {
        "required": True,
        "description": "How long it may be kept: a day what is settled, a minute what may still change.",
        "schema": {"type": "string", "pattern": "^(public, max-age=[0-9]+|(private, )?no-store)$"},
    },
    "Vary": {
        "required": True,
        "description": "The request headers that the answer depends on.",
        "schema": {"type": "string", "pattern": "(^|, )Accept-Encoding(,|$)"},
    },
    "AnyOrigin": {
        "required": True,
        "description": "Every web page may read this API.",
        "schema": {"type": "string", "const": "*"},
    },
    "Missing": {
        "description": "The currencies that `missing` names, with the first and the last day of each.",
        "schema": {"type": "string", "pattern": r"^[A-Z]{3}=[0-9-]{10}\.\.[0-9-]{10}(, |$)"},
    },
    "Challenge": {
        "required": True,
        "description": "How to send a token.",
        "schema": {"type": "string", "pattern": "^Bearer"},
    },
    "RetryAfter": {
        "required": True,
        "description": "Seconds after which to ask again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}
_HEADERS_OF_ERRORS = {
    401: {"WWW-Authenticate": ref("headers", "Challenge")},
    503: {"Retry-After": ref("headers", "RetryAfter")},
}
_CONTENT = {"Csv": "text/csv", "Html": "text/html"}
_COMMON = {
    "Cache-Control": ref("headers", "CacheControl"),
    "Vary": ref("headers", "Vary"),
    "Access-Control-Allow-Origin": ref("headers", "AnyOrigin"),
}
_CACHEABLE = {"ETag": ref("headers", "ETag"), "X-Missing-Rates": ref("headers", "Missing"), **_COMMON}


def _path_item(operation: Operation) -> Schema:
    about_the_process = operation.path.startswith("/-/")
    responses = _health_responses(operation) if about_the_process else _responses(operation)
    names = [*operation.parameters, *(("If-None-Match",) if "304" in responses else ())]
    get = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "parameters": [ref("parameters", name) for name in names],
        "responses": responses,
        **({"security": []} if about_the_process else {}),
    }
    head = {
        **get,
        "operationId": f"head_{operation.name}",
        "description": "The headers of the same answer, without its body.",
    }
    return {"get": get, "head": head}


def _responses(operation: Operation) -> dict[str, Schema]:
    own = {
        f"{operation.errors}{status}": status for status in _statuses(ERRORS.get(operation.errors or "", ()))
    }
    always = {f"Error{status}": status for status in ALWAYS}
    success = _found(operation)
    if operation.answer == "Html":
        found = {"200": success}
    else:
        found = {"200": {**success, "headers": _CACHEABLE}, "304": ref("responses", "NotModified")}
    return {
        **found,
        **{str(status): ref("responses", name) for name, status in {**own, **always}.items()},
    }


def _health_responses(operation: Operation) -> dict[str, Schema]:
    unhealthy = ref("responses", "Unhealthy")
    if operation.answer == "Freshness":
        unhealthy = _response(
            "The newest day is too old, or the database cannot be read.", "Freshness", "Unhealthy"
        )
    return {"200": _response("The answer.", operation.answer), "503": unhealthy}


def _response(description: str, *answers: str) -> Schema:
    shapes = [ref("schemas", answer) for answer in answers]
    content = _CONTENT.get(answers[0], "application/json")
    return {
        "description": description,
        "headers": _COMMON,
        "content": {content: {"schema": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}}},
    }


def _found(operation: Operation) -> Schema:
    """Return the response of a success: a document, or a script where one may be asked for."""
    success = _response("The answer.", operation.answer)
    if "callback" in operation.parameters:
        script = {"text/javascript": {"schema": ref("schemas", "Script")}}
        success = {**success, "content": {**success["content"], **script}}
    return success


def _error(kinds: Iterable[Kind]) -> Schema:
    kinds = tuple(kinds)
    own = _HEADERS_OF_ERRORS.get(kinds[0].status, {})
    return {
        "description": "; ".join(f"{kind.code} `{kind.type}`" for kind in kinds),
        "headers": {**_COMMON, **own},
        "content": {"application/json": {"schema": error_schema(kinds)}},
    }


def _statuses(kinds: Iterable[Kind]) -> list[int]:
    return sorted({kind.status for kind in kinds})


def _with_status(status: int, kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    return tuple(kind for kind in kinds if kind.status == status)


def _in_path(name: str, description: str, example: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": ref("schemas", "Date"),
        "example": example,
    }


def _needed(name: str, schema: Schema, description: str, example: object) -> Schema:
    return {
        "name": name,
        "in": "query",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def _optional(name: str, schema: Schema, description: str, example: object) -> Schema:
    """A parameter that may be left out, or left empty, as forms do."""
    return {
        "name": name,
        "in": "query",
        "allowEmptyValue": True,
        "description": description,
        "schema": schema,
        "example": example,
    }
