"""Any response is parsed or becomes an error, however damaged it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.fixer.document import response_error
from fx_pipeline.fixer.errors import (
    FixerError,
    NoRates,
)
from fx_pipeline.fixer.parsing import (
    parse_symbols,
)
from fx_pipeline_tests.fixer.documents import DAY, SERIES, historical, timeseries

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*DAY, *SERIES]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from([*DAY, *SERIES, "error", "code", "type", "info", "symbols", "USD", "2012-05-01"])
            | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)
NEARLY_RIGHT = st.builds(
    lambda document, changes: {**document, **changes},
    st.sampled_from([DAY, SERIES]),
    st.dictionaries(st.sampled_from([*DAY, *SERIES, "error", "symbols"]), JSON, max_size=2),
)
DAMAGED = st.builds(
    lambda document, at, junk, length: (
        json.dumps(document).encode()[:at] + junk + json.dumps(document).encode()[at + length :]
    ),
    st.sampled_from([DAY, SERIES, {"success": False, "error": {"code": 101, "type": "x", "info": "y"}}]),
    st.integers(0, 200),
    st.binary(max_size=4),
    st.integers(0, 200),
)
BODIES = st.binary() | (JSON | NEARLY_RIGHT).map(lambda document: json.dumps(document).encode()) | DAMAGED


@given(BODIES)
def test_any_body_becomes_days_or_a_fixer_error(body: bytes) -> None:
    for parse in (historical, timeseries, parse_symbols):
        try:
            understood = parse(body)
        except FixerError as error:
            assert str(error)
        else:
            assert understood


@given(
    st.integers(100, 599),
    BODIES,
    st.none() | st.floats(0, 1e9),
    st.none() | st.integers(0, 10**6),
)
def test_any_response_is_parsed_or_a_fixer_error(
    status: int, body: bytes, retry_after: float | None, quota_remaining: int | None
) -> None:
    error = response_error(
        status, body, "2000-01-03", retry_after=retry_after, quota_remaining=quota_remaining
    )
    assert (error is None) <= (status == 200)
    assert error is None or str(error)


@pytest.mark.parametrize("code", ["106", "106.0", "1.06e2", '"106"'])
def test_accepts_each_way_of_writing_a_code(code: str) -> None:
    error = response_error(200, b'{"success": false, "error": {"code": %s}}' % code.encode(), "")
    assert (type(error), error and error.code) == (NoRates, 106)


@pytest.mark.parametrize(
    "code", ["9" * 5000, "१०१", 10**400, 1e300, -1, 1.5, float("inf"), True, [101], {"code": 101}]
)
def test_ignores_an_invalid_code(code: object) -> None:
    error = response_error(200, json.dumps({"error": {"code": code, "type": ["x"], "info": {}}}).encode(), "")
    assert error is not None and error.retryable
    assert len(str(error)) < 200
