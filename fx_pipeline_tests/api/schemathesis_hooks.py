"""What schemathesis cannot read in the OpenAPI document; it loads this by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis

RANGES = (("start_date", "end_date"), ("start", "end"))


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Put the ends of a range in order: JSON Schema cannot say that one value is not less than another."""
    for parameters in (case.query, case.path_parameters):
        for start, end in RANGES:
            first, last = (parameters or {}).get(start), (parameters or {}).get(end)
            if isinstance(first, str) and isinstance(last, str) and first > last:
                parameters[start], parameters[end] = last, first
    return case


@schemathesis.deserializer("text/csv", "text/html")
def read_text(context: Any, response: schemathesis.Response) -> str:
    """What is no JSON is a text: its schema is a pattern."""
    return response.content.decode()
