"""What schemathesis cannot read in the OpenAPI document; it loads this by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis

from fx_pipeline.api.endpoints.parameters import CALLBACK

RANGES = (("start_date", "end_date"), ("start", "end"))
SECOND_NAMES = (("base", "from"), ("symbols", "to"))


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Make a case valid in what JSON Schema cannot say.

    A range does not end before it starts. Two names of one parameter have one value. A script has the status
    200 also where it is an error.
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
    if all(CALLBACK.fullmatch(name) for name in texts(query.get("callback"))):
        query.pop("callback", None)
    return case


def texts(value: object) -> list[str]:
    """Return the texts that a value is sent as; one that is wrong on purpose may be a list of lists."""
    if isinstance(value, list | tuple):
        return [text for part in value for text in texts(part)]
    return [str(value)] if value or value == 0 else []


@schemathesis.deserializer("text/csv", "text/html", "text/javascript")
def read_text(context: Any, response: schemathesis.Response) -> str:
    """Return a body that is not JSON as text. Its schema is a pattern."""
    return response.content.decode()
