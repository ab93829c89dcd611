"""What the API does, as an OpenAPI 3.1 document: exact enough to generate tests and clients from.

It describes one instance: the currencies are those that are stored, and the dates end with the newest stored
day. So what it calls valid has an answer. What JSON Schema cannot say (that a range must not end before it
starts) is said in words.
"""

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import version

from fx_pipeline.api import errors
from fx_pipeline.api.errors import Kind
from fx_pipeline.api.parameters import LARGEST_AMOUNT
from fx_pipeline.api.schemas import Schema, error_schema, ref, schemas
from fx_pipeline.rates import FIRST_DATE

KINDS = tuple(value for value in vars(errors).values() if isinstance(value, Kind))
"""Every kind of error there is."""

ALWAYS = (401, 403, 414, 500)
"""The statuses that any question about rates may be answered with, whatever it asks."""

_DAY = (errors.INVALID_DATE, errors.NO_RATES_AVAILABLE, errors.INVALID_API_FUNCTION)
_WANTED = (errors.INVALID_BASE_CURRENCY, errors.INVALID_CURRENCY_CODES)

ERRORS = {
    "Latest": (*_DAY, *_WANTED),
    "Days": (
        *_DAY,
        *_WANTED,
        errors.NO_TIMEFRAME_SUPPLIED,
        errors.INVALID_START_DATE,
        errors.INVALID_END_DATE,
        errors.INVALID_TIME_FRAME,
        errors.TIME_FRAME_TOO_LONG,
    ),
    "Conversion": (
        *_DAY,
        errors.INVALID_FROM_CURRENCY,
        errors.INVALID_TO_CURRENCY,
        errors.INVALID_CONVERSION_AMOUNT,
    ),
}
"""The kinds of error that operations have of their own, by the name under which `OPERATIONS` lists them.

A path that looks like a range is read as one: so questions about one day have those about ranges too.
"""

CSV_ROWS = "Rows of `date,base,currency,rate` under a heading."


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing the API does: where, with which parameters, what it answers, and which errors are its own."""

    path: str
    name: str
    summary: str
    description: str
    answer: str
    """The name of the schema of a success."""
    parameters: tuple[str, ...] = ()
    errors: str | None = None


_WHICH = ("base", "symbols", "as_of")

OPERATIONS = (
    Operation(
        "/rates/latest",
        "latest_rates",
        "The rates of the newest day",
        "Units of each currency for one unit of the base, on the newest stored day.",
        "Day",
        _WHICH,
        "Latest",
    ),
    Operation(
        "/rates/{date}/",
        "rates_of_day",
        "The rates of one day",
        "Units of each currency for one unit of the base. Where nothing is stored of the day, a 404 names "
        "the nearest stored days.",
        "Day",
        ("day", *_WHICH),
        "Days",
    ),
    Operation(
        "/rates/timeseries",
        "timeseries",
        "The rates of several days",
        "One day after another, oldest first; a day of which nothing is stored is not a key. The end must "
        "not lie before the start.",
        "Series",
        ("start_date", "end_date", *_WHICH),
        "Days",
    ),
    Operation(
        "/rates/{start}..{end}/",
        "rates_of_range",
        "The same, with the range in the path",
        "As `timeseries`. The end must not lie before the start.",
        "Series",
        ("start", "end", *_WHICH),
        "Days",
    ),
    Operation(
        "/rates/{start}../",
        "rates_since",
        "The same, from a day to the newest",
        "As `timeseries`, with the newest stored day as its end.",
        "Series",
        ("start", *_WHICH),
        "Days",
    ),
    Operation(
        "/rates/convert",
        "convert",
        "An amount in another currency",
        "At the rate of one day, or of the newest. The answer names the rate and the day.",
        "Conversion",
        ("from", "to", "amount", "date", "as_of"),
        "Conversion",
    ),
    Operation(
        "/rates/fluctuation",
        "fluctuation",
        "How much rates changed",
        "The rates of the first and of the last stored day of a range, their difference, and that in percent "
        "of the first. The end may lie before the start: the change is then the one backwards.",
        "Fluctuation",
        ("start_date", "end_date", *_WHICH),
        "Days",
    ),
    Operation(
        "/rates/symbols",
        "symbols",
        "Every currency and its name",
        "Every code of which a rate was ever stored.",
        "Symbols",
    ),
    Operation(
        "/rates/currencies",
        "currencies",
        "The same as a bare object",
        "As clients of other services expect it.",
        "Names",
    ),
    Operation(
        "/rates/latest.csv",
        "latest_rates_csv",
        "The rates of the newest day, for a spreadsheet",
        CSV_ROWS,
        "Csv",
        _WHICH,
        "Latest",
    ),
    Operation(
        "/rates/{date}.csv",
        "rates_of_day_csv",
        "The rates of one day, for a spreadsheet",
        CSV_ROWS,
        "Csv",
        ("day", *_WHICH),
        "Days",
    ),
    Operation(
        "/rates/{start}..{end}.csv",
        "rates_of_range_csv",
        "The rates of several days, for a spreadsheet",
        f"{CSV_ROWS} The end must not lie before the start.",
        "Csv",
        ("start", "end", *_WHICH),
        "Days",
    ),
    Operation(
        "/rates/",
        "index",
        "What there is",
        "The newest and the oldest stored day, and a link to each endpoint.",
        "Index",
    ),
    Operation(
        "/-/health",
        "health",
        "Whether the API works",
        "For supervisors: whether the process is up and the database can be read, with what is stored. Needs "
        "no token.",
        "Health",
    ),
    Operation(
        "/-/health/freshness",
        "freshness",
        "Whether the data is current",
        "503 when the newest stored day is too old. Needs no token. (A restart brings no data.)",
        "Freshness",
    ),
)


def document(codes: Collection[str], newest: dt.date | None) -> Schema:
    """The document, where rates of `codes` are stored and `newest` is the newest stored day."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Foreign-exchange rates",
            "version": version("fx-pipeline"),
            "summary": "Daily rates of exchange in Fixer's own protocol, with every value that was revised.",
            "description": "Read-only. Every path answers the same with and without a slash at its end. "
            "Unknown parameters are ignored. Codes of currencies are understood in small letters too.",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        # Nothing at all first: a token is needed only where the instance asks for one.
        "security": [{}, *({name: []} for name in _CARRIERS)],
        "paths": {operation.path: _path_item(operation) for operation in OPERATIONS},
        "components": {
            "schemas": schemas(codes, newest),
            "parameters": parameters(codes, newest),
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


def parameters(codes: Collection[str], newest: dt.date | None) -> dict[str, Schema]:
    """Every parameter by the name that `OPERATIONS` uses, each with an example that has an answer."""
    usual = [code for code in ("USD", "GBP", "JPY") if code in codes] or sorted(codes) or ["USD"]
    last = newest or FIRST_DATE
    first = max(FIRST_DATE, last - dt.timedelta(days=2)).isoformat()
    date, currency = ref("schemas", "Date"), ref("schemas", "Currency")
    instant = {"anyOf": [date, ref("schemas", "Instant")]}
    amount = {"type": "number", "minimum": float(1 / LARGEST_AMOUNT), "maximum": float(LARGEST_AMOUNT)}
    listed = {"type": "array", "items": currency}
    return {
        "day": _in_path("date", "The day.", last.isoformat()),
        "start": _in_path("start", "The first day.", first),
        "end": _in_path("end", "The last day.", last.isoformat()),
        "start_date": _needed("start_date", date, "The first day.", first),
        "end_date": _needed("end_date", date, "The last day.", last.isoformat()),
        "date": _optional("date", date, "The day; without it, the newest.", last.isoformat()),
        "from": _needed("from", currency, "The currency of the amount.", usual[-1]),
        "to": _needed("to", currency, "The currency to convert to.", usual[0]),
        "amount": _needed("amount", amount, "How much of it.", 25),
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
            last.isoformat(),
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
    "Challenge": {
        "required": True,
        "description": "How to send a token.",
        "schema": {"type": "string", "pattern": "^Bearer"},
    },
}
_COMMON = {
    "Cache-Control": ref("headers", "CacheControl"),
    "Vary": ref("headers", "Vary"),
    "Access-Control-Allow-Origin": ref("headers", "AnyOrigin"),
}
_CACHEABLE = {"ETag": ref("headers", "ETag"), **_COMMON}


def _path_item(operation: Operation) -> Schema:
    about_the_process = operation.path.startswith("/-/")
    responses = _health_responses(operation) if about_the_process else _responses(operation)
    names = [*operation.parameters, *(() if about_the_process else ("If-None-Match",))]
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
    return {
        "200": {**_response("The answer.", operation.answer), "headers": _CACHEABLE},
        "304": ref("responses", "NotModified"),
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
    content = "text/csv" if answers == ("Csv",) else "application/json"
    return {
        "description": description,
        "headers": _COMMON,
        "content": {content: {"schema": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}}},
    }


def _error(kinds: Iterable[Kind]) -> Schema:
    kinds = tuple(kinds)
    challenge = {"WWW-Authenticate": ref("headers", "Challenge")} if kinds[0].status == 401 else {}
    return {
        "description": "; ".join(f"{kind.code} `{kind.type}`" for kind in kinds),
        "headers": {**_COMMON, **challenge},
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
