"""The JSON Schemas (2020-12) of parameters and responses, for the OpenAPI document.

They name every key of a response: no other key is ever sent.
"""

import datetime as dt
from collections.abc import Iterable

from fx_pipeline.api.contract.parameters import ref
from fx_pipeline.api.endpoints.operation import Schema, Stored
from fx_pipeline.api.errors import ErrorKind

CODE = "^[A-Z]{3}$"
_CALENDAR_DATE = {"type": "string", "format": "date"}
_TIME = r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_DAY_OF_MONTH = "0[1-9]|[12][0-9]|3[01]"
_ZONE = "(Z|[+-](0[0-9]|1[0-2]):[0-5][0-9])"
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
    """Return the schema of an error of one of these kinds, which share one status."""
    kinds = tuple(kinds)
    which = [{"properties": {"code": {"const": kind.code}, "type": {"const": kind.type}}} for kind in kinds]
    narrower = {"status": {"const": kinds[0].status}, "error": {"anyOf": which}}
    return {"allOf": [ref("schemas", "Error"), {"properties": narrower}]}


def dates_between(first: dt.date, last: dt.date) -> str:
    """Return a pattern of the days from `first` to `last`.

    It accepts a 31st in every month. `format: date` excludes the ones that do not exist.
    """
    whole_years, spans = [], []
    for year in range(first.year, last.year + 1):
        if first <= dt.date(year, 1, 1) and dt.date(year, 12, 31) <= last:
            whole_years.append(f"{year}")
            continue
        from_month = first.month if year == first.year else 1
        to_month = last.month if year == last.year else 12
        for month in range(from_month, to_month + 1):
            from_day = first.day if (year, month) == (first.year, first.month) else 1
            to_day = last.day if (year, month) == (last.year, last.month) else 31
            days = "|".join(f"{day:02}" for day in range(from_day, to_day + 1))
            spans.append(f"{year}-{month:02}-({days if (from_day, to_day) != (1, 31) else _DAY_OF_MONTH})")
    if whole_years:
        spans.append(f"({'|'.join(whole_years)})-(0[1-9]|1[0-2])-({_DAY_OF_MONTH})")
    return f"({'|'.join(spans)})"


def _parameter_schemas(stored: Stored) -> dict[str, Schema]:
    known = {"enum": sorted(stored.codes)} if stored.codes else {"pattern": CODE}
    instant: Schema = {"type": "string", "format": "date-time"}
    shapes: dict[str, Schema] = {"Currency": {"type": "string", **known}}
    if not (stored.first and stored.newest and stored.today):
        return {**shapes, "Date": _CALENDAR_DATE, "PastDate": _CALENDAR_DATE, "PastInstant": instant}
    past = dates_between(stored.first, max(stored.first, stored.today))
    # West of Greenwich, an instant of today may be tomorrow in UTC.
    before = dates_between(stored.first, max(stored.first, stored.today - dt.timedelta(days=1)))
    return {
        **shapes,
        "Date": {**_CALENDAR_DATE, "pattern": f"^{dates_between(stored.first, stored.newest)}$"},
        "PastDate": {**_CALENDAR_DATE, "pattern": f"^{past}$"},
        "PastInstant": {**instant, "pattern": f"^({past}{_TIME}Z|{before}{_TIME}{_ZONE})$"},
    }


def _response_schemas(links: Iterable[str]) -> dict[str, Schema]:
    stored: Schema = {"type": ["string", "null"], "format": "date"}
    base: Schema = {"type": "string", "pattern": CODE}
    timestamp = {
        "type": "integer",
        "description": "The provider's own time of the rates, in Unix seconds.",
    }
    instant = {"type": "string", "format": "date-time"}
    success = {"const": True}
    query: dict[str, Schema] = {"from": base, "to": base, "amount": {"type": "number", "exclusiveMinimum": 0}}
    rates = ref("schemas", "Rates")
    span = {"start_date": _CALENDAR_DATE, "end_date": _CALENDAR_DATE}
    amount = {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "The units of the base that the rates are for.",
    }
    missing = {
        **_by_code(_object(first_date=_CALENDAR_DATE, last_date=_CALENDAR_DATE)),
        "description": "Requested currencies without a rate on some of these days, with the first and the "
        "last stored day that has one.",
    }
    info = {"type": "string", "description": "What was wrong, and what to do."}
    return {
        "Error": _object(
            success={"const": False},
            status={"type": "integer", "description": "The HTTP status."},
            message=info,
            error=_object(code={"type": "integer"}, type={"type": "string"}, info=info),
        ),
        "Day": _object(
            success=success,
            timestamp=timestamp,
            historical={"type": "boolean", "description": "Whether a date was requested."},
            base=base,
            date=_CALENDAR_DATE,
            as_of=instant,
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
            as_of=instant,
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
            as_of=instant,
            result={"type": "number", "minimum": 0},
            optional=("as_of", "historical"),
        ),
        "Fluctuation": _object(
            success=success,
            fluctuation=success,
            **span,
            base=base,
            as_of=instant,
            missing=missing,
            rates=_by_code(
                _object(
                    start_rate=ref("schemas", "Rate"),
                    end_rate=ref("schemas", "Rate"),
                    change=_CHANGE,
                    change_pct=_CHANGE,
                )
            ),
            optional=("as_of", "missing"),
        ),
        "Symbols": _object(success=success, symbols=ref("schemas", "Names")),
        "OpenApi": {"type": "object", "description": "This document."},
        "Html": {"type": "string"},
        "Script": {"type": "string", "pattern": r"^/\*\*/[A-Za-z0-9_$.]+\("},
        "Csv": {"type": "string", "pattern": "^date,base,(amount,)?currency,rate\r\n"},
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
        "Health": _object(
            ("closed",),
            status={"const": "ok"},
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
        ),
        "Unhealthy": _object(status={"const": "error"}, message={"type": "string"}),
        "Freshness": _object(
            status={"enum": ["fresh", "stale"]},
            latest_date=stored,
            age_days={"type": ["integer", "null"], "minimum": 0},
            max_age_days={"type": "integer", "minimum": 1},
        ),
    }


def _by_code(value: Schema) -> Schema:
    return {"type": "object", "propertyNames": {"pattern": CODE}, "additionalProperties": value}


def _object(optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
