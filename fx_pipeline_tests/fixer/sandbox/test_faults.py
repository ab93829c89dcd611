"""Faults of the sandbox: what a client sees of each, and that they follow from seed, question and try."""

import datetime as dt
import math
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.fixer.sandbox.faults import KINDS, TRANSIENT, Faults, parse_faults, spread
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.waiting import PATIENCE, wait_for

DAY = dt.date(2024, 3, 6)
DATES = [DAY + dt.timedelta(offset) for offset in range(60)]
MAJORS = {"USD", "JPY", "GBP", "CHF", "AUD", "CAD"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(today=lambda: dt.date(2024, 6, 14), retry_after=7) as running:
        yield running


def get(
    sandbox: Sandbox, path: str, faults: dict[str, float] | None = None, timeout: float = PATIENCE
) -> requests.Response:
    if faults is not None:
        sandbox.change(faults=faults)
    return requests.get(f"{sandbox.url}{path}", params={"access_key": "k"}, timeout=timeout)


def good(sandbox: Sandbox, path: str) -> Any:
    return get(sandbox, path, {}).json()


def answers(sandbox: Sandbox, kind: str, path: str = "/{date}", count: int = 40) -> list[Any]:
    """Answers to as many questions (days) with this fault, as (good document, response)."""
    pairs = []
    for date in DATES[:count]:
        asked = path.format(date=date, end=date + dt.timedelta(5))
        pairs.append((good(sandbox, asked), get(sandbox, asked, {kind: 1.0})))
    return pairs


def test_rate_limit(sandbox: Sandbox) -> None:
    responses = [response for _, response in answers(sandbox, "rate-limit")]
    assert {response.status_code for response in responses} == {429}
    assert {response.headers.get("retry-after") for response in responses} == {None, "7"}
    assert {response.text for response in responses} == {'{"message":"API rate limit exceeded"}'}


def test_server_error(sandbox: Sandbox) -> None:
    assert {response.status_code for _, response in answers(sandbox, "server-error")} == {500, 502, 503}


def test_html(sandbox: Sandbox) -> None:
    responses = [response for _, response in answers(sandbox, "html")]
    assert {response.status_code for response in responses} == {200, 400, 502}
    assert {response.headers["content-type"] for response in responses} == {"text/html; charset=utf-8"}
    assert all(response.text.startswith("<!DOCTYPE html>") for response in responses)


def test_plain_is_harmless(sandbox: Sandbox) -> None:
    for document, response in answers(sandbox, "plain", count=3):
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.json() == document
        assert response.text.startswith('{\n  "success": true,')


def test_timeout_outlasts_the_client(sandbox: Sandbox) -> None:
    with pytest.raises(requests.ReadTimeout):
        get(sandbox, f"/{DAY}", {"timeout": 1.0}, timeout=0.2)


def test_timeout_hangs_up_in_the_end() -> None:
    with running_sandbox(timeout_seconds=0.1) as sandbox, pytest.raises(requests.ConnectionError):
        get(sandbox, f"/{DAY}", {"timeout": 1.0})


def test_a_sandbox_stops_while_it_keeps_a_client_waiting() -> None:
    with ThreadPoolExecutor(1) as pool:
        with running_sandbox(faults={"timeout": 1.0}) as sandbox:
            waiting = pool.submit(get, sandbox, f"/{DAY}", None, 30)
            wait_for(lambda: sandbox.stats()["total"])
        assert isinstance(waiting.exception(), requests.ConnectionError)


def test_reset_is_a_reset_of_the_connection(sandbox: Sandbox) -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        get(sandbox, f"/{DAY}", {"reset": 1.0})
    assert "ConnectionResetError" in repr(caught.value)


def test_cut_ends_before_the_declared_length(sandbox: Sandbox) -> None:
    whole = len(get(sandbox, f"/{DAY}", {}).content)
    half = whole // 2
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        get(sandbox, f"/{DAY}", {"cut": 1.0})
    assert f"IncompleteRead({half} bytes read, {whole - half} more expected)" in str(caught.value)


def test_fixer_error(sandbox: Sandbox) -> None:
    for _, response in answers(sandbox, "fixer-error", count=3):
        assert response.status_code == 200
        assert response.json() == {
            "success": False,
            "error": {"code": 500, "type": "internal_error", "info": "An internal error occurred."},
        }


def test_empty(sandbox: Sandbox) -> None:
    bodies = set()
    for document, response in answers(sandbox, "empty"):
        assert response.status_code == 200
        if response.content:
            assert response.json() == document | {"rates": {}}
        bodies.add(bool(response.content))
    assert bodies == {True, False}


def test_wrong_date_is_the_whole_answer_of_another_day(sandbox: Sandbox) -> None:
    for document, response in answers(sandbox, "wrong-date"):
        wrong = response.json()
        distance = dt.date.fromisoformat(document["date"]) - dt.date.fromisoformat(wrong["date"])
        assert 1 <= distance.days <= 3
        assert wrong == good(sandbox, f"/{wrong['date']}")


def test_wrong_date_shifts_a_series(sandbox: Sandbox) -> None:
    path = "/timeseries?start_date={date}&end_date={end}"
    for document, response in answers(sandbox, "wrong-date", path, 5):
        wrong = response.json()
        assert wrong["start_date"] < document["start_date"]
        assert wrong == good(sandbox, path.format(date=wrong["start_date"], end=wrong["end_date"]))


def test_the_first_day_s_wrong_date_is_later(sandbox: Sandbox) -> None:
    assert get(sandbox, "/1999-01-01", {"wrong-date": 1.0}).json()["date"] > "1999-01-01"


@pytest.mark.parametrize(("asked", "answered"), [("EUR", "USD"), ("GBP", "USD"), ("USD", "GBP")])
def test_wrong_base(sandbox: Sandbox, asked: str, answered: str) -> None:
    wrong = get(sandbox, f"/{DAY}?base={asked}", {"wrong-base": 1.0}).json()
    assert wrong == good(sandbox, f"/{DAY}?base={answered}")
    assert wrong["base"] == answered


def test_wrong_base_befalls_a_plan_that_has_none() -> None:
    with running_sandbox(plan="free", faults={"wrong-base": 1.0}) as sandbox:
        assert get(sandbox, f"/{DAY}").json()["base"] == "USD"


@pytest.mark.parametrize(("asked", "in_fact"), [("EUR", "USD"), ("GBP", "EUR"), ("USD", "EUR")])
@pytest.mark.parametrize("path", [f"/{DAY}?", "/timeseries?start_date=2024-03-04&end_date=2024-03-06&"])
def test_mislabelled_base(sandbox: Sandbox, path: str, asked: str, in_fact: str) -> None:
    said = get(sandbox, f"{path}base={asked}", {"mislabelled-base": 1.0}).json()
    assert said == {**good(sandbox, f"{path}base={in_fact}"), "base": asked}


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what was replaced or left out. A NaN differs from itself."""
    return {
        code: (before.get(code), after.get(code, "left out"))
        for code in before | after
        if code not in after or before.get(code) != after[code]
    }


def test_bad_value_spoils_one_value_in_each_way(sandbox: Sandbox) -> None:
    seen = set()
    for document, response in answers(sandbox, "bad-value", count=60):
        ((code, (before, after)),) = changes(document["rates"], response.json()["rates"]).items()
        assert code != "EUR"
        if after is None or after == 0:
            seen.add(repr(after))
        elif isinstance(after, str):
            assert after == str(before)
            seen.add("string")
        elif math.isnan(after):
            seen.add("NaN")
        else:
            assert after == -before
            seen.add("negative")
    assert seen == {"None", "0", "string", "NaN", "negative"}


def test_off_by_100(sandbox: Sandbox) -> None:
    factors = set()
    for document, response in answers(sandbox, "off-by-100"):
        ((code, (before, after)),) = changes(document["rates"], response.json()["rates"]).items()
        assert code != "EUR"
        factors.add(round(after / before, 2))
    assert factors == {100, 0.01}


def test_an_old_timestamp_is_that_of_the_day_before(sandbox: Sandbox) -> None:
    for document, response in answers(sandbox, "old-timestamp", count=3):
        assert response.json() == {**document, "timestamp": document["timestamp"] - 86_400}


def test_missing_leaves_out_a_major(sandbox: Sandbox) -> None:
    gone = set()
    for document, response in answers(sandbox, "missing"):
        ((code, (_, after)),) = changes(document["rates"], response.json()["rates"]).items()
        assert after == "left out"
        gone.add(code)
    assert gone == MAJORS


@pytest.mark.parametrize("kind", ["bad-value", "off-by-100", "missing"])
def test_one_day_of_a_series_is_spoilt(sandbox: Sandbox, kind: str) -> None:
    for document, response in answers(sandbox, kind, "/timeseries?start_date={date}&end_date={end}", 5):
        spoilt = response.json()
        days = {date: changes(rates, spoilt["rates"][date]) for date, rates in document["rates"].items()}
        assert sorted(len(changed) for changed in days.values()) == [0, 0, 0, 0, 0, 1]


def test_a_gap_is_a_day_left_out_of_a_series_or_sent_as_a_list(sandbox: Sandbox) -> None:
    seen = set()
    for document, response in answers(sandbox, "gap", "/timeseries?start_date={date}&end_date={end}", 20):
        rates = response.json()["rates"]
        [gap] = [date for date in document["rates"] if not rates.get(date)]
        seen.add(repr(rates.get(gap)))
        assert {**rates, gap: document["rates"][gap]} == document["rates"]
    assert seen == {"None", "[]"}


NOT_FOR = [
    ("gap", f"/{DAY}"),
    ("gap", "/timeseries?start_date=2024-03-06&end_date=2024-03-06"),
    ("bad-value", "/symbols"),
    ("old-timestamp", "/timeseries?start_date=2024-03-06&end_date=2024-03-07"),
    ("off-by-100", "/convert?from=EUR&to=USD&amount=1"),
    ("missing", "/fluctuation?start_date=2024-03-06&end_date=2024-03-07"),
    ("missing", f"/{DAY}?symbols=EUR"),
    ("wrong-date", "/symbols"),
    ("wrong-base", "/symbols"),
    ("mislabelled-base", "/symbols"),
    ("revision", "/symbols"),
    ("empty", "/2024-02-30"),
    ("bad-value", "/nonsense"),
]


@pytest.mark.parametrize(("kind", "path"), NOT_FOR)
def test_a_fault_that_cannot_befall_an_answer_leaves_it_alone(sandbox: Sandbox, kind: str, path: str) -> None:
    document = good(sandbox, path)
    spoilt = get(sandbox, path, {kind: 1.0}).json()
    for answer in (document, spoilt):
        answer.get("info", {}).pop("timestamp", None)
    assert spoilt == document


def test_no_fault_hides_a_wrong_key_or_a_used_up_quota() -> None:
    with running_sandbox(key="k", quota=1, faults={"server-error": 1.0}) as sandbox:
        assert get(sandbox, f"/{DAY}").status_code == 500
        assert get(sandbox, f"/{DAY}").json()["error"]["code"] == 104
        wrong = requests.get(f"{sandbox.url}/{DAY}?access_key=wrong", timeout=PATIENCE)
        assert wrong.json()["error"]["code"] == 101


def test_a_revision_shows_from_the_second_reading_and_stays() -> None:
    with running_sandbox(faults={"revision": 1.0}) as sandbox:
        first, second, third = (get(sandbox, f"/{DAY}").json() for _ in range(3))
        assert second == third
        moved = changes(first["rates"], second["rates"])
        assert "USD" in moved and "EUR" not in moved
        assert 5 <= len(moved) <= 25, "some values, not all"
        assert all(abs(after / before - 1) <= 0.03 for before, after in moved.values())
        assert second | {"rates": 0} == first | {"rates": 0}
        in_dollars = get(sandbox, f"/{DAY}?base=USD&symbols=EUR").json()["rates"]["EUR"]
        assert in_dollars == pytest.approx(1 / second["rates"]["USD"], abs=1e-6), "however it is asked"
    with running_sandbox(faults={"revision": 1.0}) as sandbox:
        series = f"/timeseries?start_date={DAY}&end_date={DAY}"
        assert get(sandbox, series).json()["rates"][DAY.isoformat()] == first["rates"]
        assert get(sandbox, f"/{DAY}").json() == second, "a day read in a series has been read"


def test_an_answer_that_did_not_arrive_is_no_reading() -> None:
    with running_sandbox(faults={"revision": 1.0}) as sandbox:
        first = get(sandbox, f"/{DAY}").json()
    with running_sandbox(faults={"revision": 1.0, "server-error": 1.0}) as sandbox:
        get(sandbox, f"/{DAY}")
        assert get(sandbox, f"/{DAY}", {"revision": 1.0}).json() == first


def test_the_rate_of_revision_is_the_share_of_days_revised() -> None:
    faults = Faults({"revision": 0.3}, seed=3)
    rates = {"EUR": 1.0, "USD": 1.1}
    revised = sum(faults.revised(DAY + dt.timedelta(offset), rates) != rates for offset in range(2000))
    assert 0.27 < revised / 2000 < 0.33


def outcome(sandbox: Sandbox, path: str) -> str:
    try:
        response = get(sandbox, path)
    except requests.RequestException as error:
        return type(error).__name__
    return f"{response.status_code} {dict(response.headers).get('retry-after')} {response.text}"


def test_the_order_of_questions_changes_nothing() -> None:
    kinds = {kind: 0.06 for kind in KINDS if kind not in ("timeout", "revision")}
    paths = [f"/{date}" for date in DATES]
    shuffled = paths.copy()
    random.Random(1).shuffle(shuffled)

    def ask(order: list[str], seed: int, workers: int) -> list[dict[str, str]]:
        with running_sandbox(faults=kinds, seed=seed) as sandbox, ThreadPoolExecutor(workers) as pool:
            return [
                dict(zip(order, pool.map(lambda path: outcome(sandbox, path), order), strict=True))
                for _ in range(3)
            ]

    single, concurrent = ask(paths, 5, 1), ask(shuffled, 5, 8)
    assert single == concurrent
    assert single[0] != single[1], "the next try has its own luck"
    assert single != ask(paths, 6, 8), "another seed, other faults"


def test_the_share_of_each_kind_is_its_rate() -> None:
    faults = Faults({"transient": 0.3, "missing": 0.1, "cut": 0.05}, seed=11)
    drawn = Counter(
        fault.kind if (fault := faults.draw(f"historical {number}", 1)) else "none" for number in range(20000)
    )
    expected = dict.fromkeys(TRANSIENT, 0.03) | {"missing": 0.1, "cut": 0.08, "none": 0.55}
    assert drawn.keys() == expected.keys()
    for kind, share in expected.items():
        assert drawn[kind] / 20000 == pytest.approx(share, abs=0.008), kind


@given(question=st.text(), nth=st.integers(1, 1000), seed=st.integers())
def test_a_draw_is_the_same_each_time(question: str, nth: int, seed: int) -> None:
    def draw() -> tuple[str, float] | None:
        fault = Faults({"transient": 0.5}, seed).draw(question, nth)
        return None if fault is None else (fault.kind, fault.dice.random())

    assert draw() == draw()


def test_a_client_that_asks_again_gets_through() -> None:
    faults = Faults({"transient": 0.5}, seed=0)
    for date in DATES:
        assert any(faults.draw(f"historical {date}", nth) is None for nth in range(1, 12)), date


@pytest.mark.parametrize(
    ("items", "rates"),
    [
        ([], {}),
        (["transient=0.3"], {"transient": 0.3}),
        (["cut=0.1", "revision=1", "missing=1e-2"], {"cut": 0.1, "revision": 1, "missing": 0.01}),
        (["transient=1"], {"transient": 1}),
    ],
)
def test_faults_as_given_to_the_command(items: list[str], rates: dict[str, float]) -> None:
    assert parse_faults(items) == rates


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["cut"], r"'cut' is not KIND=RATE"),
        (["cut="], r"'cut=' is not KIND=RATE with a rate from 0 to 1, as in cut=0\.1\."),
        (["cut=often"], r"'cut=often' is not KIND=RATE"),
        (["flood=0.1"], r"There is no fault 'flood'\. Known: transient, rate-limit, .*, revision\."),
        (["=0.1"], r"There is no fault ''"),
        (["cut=1.5"], r"The rate of the fault 'cut' must be from 0 to 1, not 1\.5\."),
        (["cut=-1"], r"The rate of the fault 'cut' must be from 0 to 1"),
        (["cut=nan"], r"The rate of the fault 'cut' must be from 0 to 1, not nan\."),
        (["cut=0.1", "cut=0.2"], r"The fault 'cut' is given twice\."),
        (["transient=0.6", "missing=0.5"], r"The rates of the faults add up to 1\.1"),
    ],
)
def test_faults_that_cannot_be(items: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_faults(items)


def test_transient_is_spread_over_its_kinds() -> None:
    rates = spread({"transient": 0.3})
    assert list(rates) == list(KINDS)
    assert {kind for kind, rate in rates.items() if rate} == set(TRANSIENT)
    assert sum(rates.values()) == pytest.approx(0.3)


def test_faults_are_counted_by_kind() -> None:
    with running_sandbox(faults={"server-error": 0.5, "missing": 0.5}, seed=2) as sandbox:
        for date in DATES[:20]:
            get(sandbox, f"/{date}")
        counts = sandbox.stats()["endpoints"]["historical"]
        assert counts.keys() == {"server-error", "missing"}
        assert sum(counts.values()) == 20
