"""Links to an address of this machine lead somewhere only for visitors on it."""

import pytest

from fx_pipeline.serving.hosts import leads_somewhere

LOOPBACK = ("127.0.0.1:8001", "127.0.0.2", "localhost:8001", "LOCALHOST", "[::1]:8001")
OTHERS = (
    "rates.example.org",
    "192.168.7.1:8001",
    "[2001:db8::1]",
    "localhost.example.org",
    "127.0.0.1.example.org",
    "",
    "a b",
)


@pytest.mark.parametrize("host", [*LOOPBACK, *OTHERS])
@pytest.mark.parametrize("url", ["http://127.0.0.1:3000", "http://localhost:3000", "http://[::1]"])
def test_a_loopback_address_is_for_visitors_of_one(url: str, host: str) -> None:
    assert leads_somewhere(url, host) is (host in LOOPBACK)


@pytest.mark.parametrize("host", [*LOOPBACK, *OTHERS])
@pytest.mark.parametrize("url", ["https://dagster.example.org", "http://192.168.7.1:3000/"])
def test_any_other_address_is_for_everyone(url: str, host: str) -> None:
    assert leads_somewhere(url, host)
