"""The JSON Schemas (2020-12) of parameters and responses, for the OpenAPI document.

They name every key of a response: no other key is ever sent. A client that was generated from them must also
accept tomorrow's data, so the stored currencies and days are examples, not limits. Each schema has a `type`,
also where `const` implies it, because generators ignore or refuse the others.
"""

from collections.abc import Iterable

from fx_pipeline.api.contract.parameters import ref
from fx_pipeline.api.endpoints.operation import Schema, Stored
from fx_pipeline.api.errors import ErrorKind

CODE = "^[A-Z]{3}$"
_CALENDAR_DATE = {"type": "string", "format": "date"}
_INSTANT = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_CHANGE = {"type": "number"}


def schemas(stored: Stored, links: Iterable[str] = ()) -> dict[str, Schema]:
    """Return the schemas by name. `links` are the names of the index's links."""
    return {
        **_parameter_schemas(stored),
        "Rate": {"type": "number", "exclusiveMinimum": 0},
        "Rates": {
            **_by_code(ref("schemas", "Rate")),
            "description": "Units of each currency for one unit of the base.",
        },
        "Names": {**_by_code({"type": "string"}), "description": "The name of each currency."},
        **_response_schemas(links),
    }


def error_schema(kinds: Iterable[ErrorKind]) -> Schema:
    """Return the schema of an error of one of these kinds, which share one status.

    Generators for languages without literal types read only the reference, so that all errors have one class.
    """
    kinds = tuple(kinds)
    which = [
        {
            "type": "object",
            "properties": {"code": _constant(kind.code), "type": _constant(kind.type)},
            "required": ["code", "type"],
        }
        for kind in kinds
    ]
    return {
        "allOf": [ref("schemas", "Error")],
        "properties": {"status": _constant(kinds[0].status), "error": {"anyOf": which}},
        "required": ["status", "error"],
    }


def _parameter_schemas(stored: Stored) -> dict[str, Schema]:
    days = [day.isoformat() for day in (stored.first, stored.newest) if day]
    return {
        "Currency": {
            "type": "string",
            "pattern": CODE,
            "description": "A currency code. `/rates/symbols` lists the stored ones.",
            **_examples(sorted(stored.codes)),
        },
        "Date": {**_CALENDAR_DATE, "description": "A day, at the latest today (UTC).", **_examples(days)},
        "Instant": {**_INSTANT, "description": "An instant in the past, with its zone."},
    }


def _response_schemas(links: Iterable[str]) -> dict[str, Schema]:
    stored: Schema = {"type": ["string", "null"], "format": "date"}
    base: Schema = {"type": "string", "pattern": CODE}
    timestamp = {
        "type": "integer",
        "description": "The provider's own time of the rates, in Unix seconds.",
    }
    success = _constant(True)
    query: dict[str, Schema] = {"from": base, "to": base, "amount": {"type": "number", "exclusiveMinimum": 0}}
    rates = ref("schemas", "Rates")
    span = {"start_date": _CALENDAR_DATE, "end_date": _CALENDAR_DATE}
    amount = {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "The units of the base that the rates are for.",
    }
    missing = ref("schemas", "Missing")
    info = {"type": "string", "description": "What was wrong, and what to do."}
    return {
        "Error": _object(
            success=_constant(False),
            status={"type": "integer", "description": "The HTTP status."},
            message=info,
            error=ref("schemas", "ErrorDetail"),
        ),
        "ErrorDetail": _object(
            code={"type": "integer", "description": "Fixer's code, or the HTTP status."},
            type={"type": "string", "description": "Fixer's name of the error."},
            info=info,
        ),
        "Lifespan": _object(first_date=_CALENDAR_DATE, last_date=_CALENDAR_DATE),
        "Missing": {
            **_by_code(ref("schemas", "Lifespan")),
            "description": "Requested currencies without a rate on some of these days, with the first and "
            "the last stored day that has one.",
        },
        "Day": _object(
            success=success,
            timestamp=timestamp,
            historical={"type": "boolean", "description": "Whether a date was requested."},
            base=base,
            date=_CALENDAR_DATE,
            as_of=_INSTANT,
            amount=amount,
            missing=missing,
            rates=rates,
            optional=("as_of", "amount", "missing"),
        ),
        "Series": _object(
            success=success,
            timeseries=success,
            **span,
            base=base,
            as_of=_INSTANT,
            amount=amount,
            missing=missing,
            rates={"type": "object", "propertyNames": _CALENDAR_DATE, "additionalProperties": rates},
            optional=("as_of", "amount", "missing"),
        ),
        "Conversion": _object(
            success=success,
            query=_object((), **query),
            info=_object(timestamp=timestamp, rate=ref("schemas", "Rate")),
            historical=success,
            date=_CALENDAR_DATE,
            as_of=_INSTANT,
            result={"type": "number", "minimum": 0},
            optional=("as_of", "historical"),
        ),
        "Fluctuation": _object(
            success=success,
            fluctuation=success,
            **span,
            base=base,
            as_of=_INSTANT,
            missing=missing,
            rates=_by_code(ref("schemas", "Change")),
            optional=("as_of", "missing"),
        ),
        "Change": _object(
            start_rate=ref("schemas", "Rate"),
            end_rate=ref("schemas", "Rate"),
            change=_CHANGE,
            change_pct=_CHANGE,
        ),
        "Symbols": _object(success=success, symbols=ref("schemas", "Names")),
        "OpenApi": {"type": "object", "description": "This document."},
        "Html": {"type": "string"},
        "Metrics": {"type": "string", "pattern": "^# HELP fx_"},
        "Csv": {
            "type": "string",
            "pattern": "^date,(base,(amount,)?currency,rate|[A-Z]{3}(,[A-Z]{3})*)\r\n",
        },
        "Index": _object(
            success=success,
            name={"type": "string"},
            description={"type": "string"},
            base={"type": ["string", "null"], "pattern": CODE},
            latest_date=stored,
            first_date=stored,
            endpoints={
                **_object((), **{name: {"type": "string", "format": "uri-reference"} for name in links}),
                "description": "A link to each endpoint, with values that work.",
            },
        ),
        "Reader": _object(
            generation={**_COUNT, "description": "How many writers there were. A failover begins a new one."},
            transaction={**_COUNT, "description": "The newest transaction of this writer that is served."},
            lag_seconds={
                "type": ["number", "null"],
                "minimum": 0,
                "description": "Seconds since all of the replica was served; null if it never was.",
            },
            max_lag_seconds={"type": "number", "exclusiveMinimum": 0},
        ),
        "Readiness": _object(
            ("reader",),
            status={"type": "string", "enum": ["ready", "lagging"]},
            reader={**ref("schemas", "Reader"), "description": "How current this reader is, if it is one."},
        ),
        "Drill": _object(
            result={"type": "string", "enum": ["good", "failed", "skipped"]},
            at={"type": "string", "format": "date-time"},
            last_good={"type": ["string", "null"], "format": "date-time"},
            age_hours={
                "type": ["number", "null"],
                "minimum": 0,
                "description": "Hours since the last good drill; null if none was good.",
            },
        ),
        "Health": _object(
            ("closed", "replication", "restore_drill", "sqlite", "reader"),
            status=_constant("ok"),
            base={"type": ["string", "null"], "pattern": CODE},
            first_date=stored,
            latest_date=stored,
            days=_COUNT,
            rates=_COUNT,
            symbols=_COUNT,
            closed={
                "type": "string",
                "description": "Why all other requests are refused: the tokens are lost or cannot be read.",
            },
            sqlite={
                "type": "string",
                "description": "Why the server's version of SQLite should be replaced: it can corrupt data.",
            },
            replication={
                "type": "string",
                "enum": ["ok", "failing", "stopped"],
                "description": "Whether the newest commits are in the replica, if there is one.",
            },
            restore_drill={
                **ref("schemas", "Drill"),
                "description": "Whether the database could be restored at the last drill, if there was one.",
            },
            reader={**ref("schemas", "Reader"), "description": "How current this reader is, if it is one."},
        ),
        "Unhealthy": _object(status=_constant("error"), message={"type": "string"}),
        "Freshness": _object(
            ("alerts",),
            status={"type": "string", "enum": ["fresh", "stale", "frozen", "unwatched"]},
            latest_date=stored,
            age_days={"type": ["integer", "null"], "minimum": 0},
            max_age_days={"type": "integer", "minimum": 1},
            content_age={
                "anyOf": [ref("schemas", "ContentAge"), {"type": "null"}],
                "description": "How long the newest rates are unchanged; null with fewer than two days.",
            },
            alerts={
                "type": "string",
                "description": "Why no alert is sent to the operator, although an address is set.",
            },
        ),
        "ContentAge": _object(
            unchanged_since={
                "type": "string",
                "format": "date",
                "description": "The first stored day with the newest rates.",
            },
            business_days={
                "type": "integer",
                "minimum": 0,
                "description": "Business days that repeat these rates.",
            },
            state={
                "type": "string",
                "enum": ["changing", "suspicious", "frozen"],
                "description": "Whether the provider's rates stand still: frozen if that is certain.",
            },
        ),
    }


def _constant(value: bool | int | str) -> Schema:
    # A bool is an int too, so it comes first.
    kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "string"
    return {"type": kind, "const": value}


def _examples(values: list[str]) -> Schema:
    return {"examples": values} if values else {}


def _by_code(value: Schema) -> Schema:
    return {
        "type": "object",
        "propertyNames": {"type": "string", "pattern": CODE},
        "additionalProperties": value,
    }


def _object(optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
