"""Which id a request gets from its headers."""

import re

import pytest

from fx_pipeline.serving.request_id import id_of, new_id, sent_id

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = b"00-" + TRACE + b"-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("request_id", "traceparent", "expected"),
    [
        (None, None, None),
        (b"order-17/retry=2", None, b"order-17/retry=2"),
        (b"a" * 128, None, b"a" * 128),
        (b"order-17", PARENT, b"order-17"),
        # Not printable ASCII, or too long.
        (b"", None, None),
        (b"a" * 129, None, None),
        (b"a b", None, None),
        (b"one, two", None, None),
        (b"a\tb", None, None),
        (b"caf\xe9", None, None),
        (b"a b", PARENT, TRACE),
        # W3C Trace Context, 3.2.
        (None, PARENT, TRACE),
        (None, b"cc" + PARENT[2:] + b"-more", TRACE),
        (None, PARENT + b"-more", None),
        (None, b"ff" + PARENT[2:], None),
        (None, PARENT.upper(), None),
        (None, b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", None),
        (None, b"00-" + TRACE + b"-" + b"0" * 16 + b"-01", None),
        (None, b"00-" + TRACE, None),
        (None, PARENT + b", " + PARENT, None),
    ],
)
def test_takes_the_id_that_the_client_sent(
    request_id: bytes | None, traceparent: bytes | None, expected: bytes | None
) -> None:
    assert sent_id(request_id, traceparent) == expected


def test_makes_an_id_in_the_form_of_a_trace_id() -> None:
    made = {new_id() for _ in range(1000)} | {id_of([(b"host", b"x"), (b"x-request-id", b"a b")])}
    assert len(made) == 1001
    assert all(re.fullmatch(rb"[0-9a-f]{32}", one) for one in made)
