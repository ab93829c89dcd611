"""What schemathesis cannot read in the OpenAPI document; it loads this by SCHEMATHESIS_HOOKS."""

import datetime as dt
from typing import Any

import schemathesis

from fx_pipeline_tests.api.date_patterns import days_between, instants_between

RANGES = (("start_date", "end_date"), ("start", "end"))
SECOND_NAMES = (("base", "from"), ("symbols", "to"))


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Limit the generated values to the stored currencies and days, which the document names as examples.

    Otherwise almost every generated request would be for an unknown currency or a missing day.
    """
    shapes = raw_schema["components"]["schemas"]
    shapes["Currency"]["enum"] = shapes["Currency"].pop("examples")
    first, newest = map(dt.date.fromisoformat, shapes["Date"].pop("examples"))
    shapes["Date"]["pattern"] = f"^{days_between(first, newest)}$"
    today = dt.datetime.now(dt.timezone.utc).date()
    shapes["Instant"]["pattern"] = f"^{instants_between(first, today)}$"


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Make a case valid in what JSON Schema cannot say.

    A range does not end before it starts. Two names of one parameter have one value.
    """
    for parameters in (case.query, case.path_parameters):
        for start, end in RANGES:
            first, last = (parameters or {}).get(start), (parameters or {}).get(end)
            if isinstance(first, str) and isinstance(last, str) and first > last:
                parameters[start], parameters[end] = last, first
    query = case.query or {}
    if case.meta is None or case.meta.generation.mode.is_positive:
        for name, second in SECOND_NAMES:
            if name in query and second in query:
                del query[second]
    return case


@schemathesis.deserializer("text/csv", "text/html")
def read_text(context: Any, response: schemathesis.Response) -> str:
    """Return a body that is not JSON as text. Its schema is a pattern."""
    return response.content.decode()
