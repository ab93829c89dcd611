"""Rates as known at an instant: whole documents, and random histories compared with a model."""

import datetime as dt
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates, as_number, fluctuation, rebase
from fx_pipeline.settings import PROJECT
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.api.conftest import MARCH, Api, OpenApi
from fx_pipeline_tests.api.history import History

# The 6th was first stored on the 7th at 00:05 with USD 1.16 and GBP 0.86, and revised on the 8th at 00:05.
CASES = [
    ("symbols=USD,JPY&as_of=2026-03-07", "2026-03-07T23:59:59.999999Z", {"USD": 1.16, "JPY": 183}),
    ("symbols=USD,GBP&as_of=2026-03-07T00:05:00Z", "2026-03-07T00:05:00Z", {"USD": 1.16, "GBP": 0.86}),
    ("symbols=USD&as_of=2026-03-08T00:04:59.999999Z", "2026-03-08T00:04:59.999999Z", {"USD": 1.16}),
    ("symbols=USD,GBP&as_of=2026-03-08T00:05:00Z", "2026-03-08T00:05:00Z", {"USD": 1.1618, "GBP": 0.8672}),
    ("symbols=USD&as_of=2026-03-08T01:04:59%2B01:00", "2026-03-08T00:04:59Z", {"USD": 1.16}),
    ("symbols=USD&as_of=2026-03-08T01:05:00+01:00", "2026-03-08T00:05:00Z", {"USD": 1.1618}),
    ("symbols=USD&as_of=2026-03-07T19:04:00.5-0500", "2026-03-08T00:04:00.500000Z", {"USD": 1.16}),
    ("symbols=USD&as_of=2026-03-10", "2026-03-10T23:59:59.999999Z", {"USD": 1.1618}),
    ("symbols=USD&as_of=2026-03-08t00:04z", "2026-03-08T00:04:00Z", {"USD": 1.16}),
    ("base=USD&symbols=EUR&as_of=2026-03-07", "2026-03-07T23:59:59.999999Z", {"EUR": 0.8620689655}),
]


@pytest.mark.parametrize(("query", "as_of", "rates"), CASES)
async def test_a_day_as_known_at_an_instant(
    api: Api, query: str, as_of: str, rates: dict[str, float]
) -> None:
    document = (await api.get(f"/rates/2026-03-06?{query}")).json()
    assert document == {
        "success": True,
        "timestamp": 1772841599,
        "historical": True,
        "base": "USD" if "base=USD" in query else "EUR",
        "date": "2026-03-06",
        "as_of": as_of,
        "rates": rates,
    }
    assert list(document) == ["success", "timestamp", "historical", "base", "date", "as_of", "rates"]


@pytest.mark.parametrize(
    ("as_of", "date"),
    [
        ("2026-03-06", "2026-03-05"),
        ("2026-03-07T00:04:59Z", "2026-03-05"),
        ("2026-03-07", "2026-03-06"),
        ("2026-03-08", "2026-03-06"),
        ("2026-03-09", "2026-03-08"),
        ("2026-03-10", "2026-03-09"),
    ],
)
async def test_the_latest_day_as_known_at_an_instant(api: Api, as_of: str, date: str) -> None:
    document = (await api.get(f"/rates/latest?as_of={as_of}")).json()
    assert (document["date"], document["historical"]) == (date, False)
    page = await api.get(f"/fx/rates_by_date?as_of={as_of}")
    assert page.status_code == 200
    assert f'value="{date}"' in page.text


@pytest.mark.parametrize(
    ("as_of", "usd"),
    [
        ("2026-03-07T00:04:59Z", None),
        ("2026-03-07T00:05:00Z", 1.16),
        ("2026-03-07T00:05", 1.16),
        ("2026-03-07 00:05:00", 1.16),
        ("2026-03-07T01:05:00%2B01:00", 1.16),
        ("2026-03-07T01:04:59.999%2B01:00", None),
        ("2026-03-07T01:05:00+01:00", 1.16),
        ("2026-03-07T01:04:59.999+01:00", None),
        ("2026-03-07t00:05:00z", 1.16),
        ("%202026-03-07%20", 1.16),
        ("2026-03-08T00:04:59.999Z", 1.16),
        ("2026-03-08T00:04:59.999999Z", 1.16),
        ("2026-03-08T00:05:00.000Z", 1.1618),
        ("2026-03-07T19:05:00-05:00", 1.1618),
        ("2026-03-08", 1.1618),
    ],
)
@pytest.mark.parametrize("query", ["rates_by_date", "rates_by_range", "rate_history"])
async def test_a_canned_query_as_known_at_an_instant(
    api: Api, query: str, as_of: str, usd: float | None
) -> None:
    span = "start_date=2026-03-06&end_date=2026-03-06"
    day = {"rates_by_date": "date=2026-03-06", "rate_history": f"{span}&symbols=USD"}.get(query, span)
    rows = (await api.get(f"/fx/{query}.json?{day}&as_of={as_of}&_shape=objects")).json()["rows"]
    assert {row["rate"] for row in rows if row["currency"] == "USD"} == ({usd} if usd else set())
    counted = await api.get(f"/fx/stored_days.json?start_date=2026-03-06&as_of={as_of}&_shape=objects")
    assert (counted.json()["rows"][0]["first_date"] == "2026-03-06") == (usd is not None)


async def test_a_range_as_known_at_an_instant(api: Api) -> None:
    as_of = "2026-03-07T12:00:00Z"
    document = (await api.get(f"/rates/2026-03-05..?symbols=USD,GBP&as_of={as_of}")).json()
    assert document == {
        "success": True,
        "timeseries": True,
        "start_date": "2026-03-05",
        "end_date": "2026-03-06",
        "base": "EUR",
        "as_of": as_of,
        "rates": {"2026-03-05": {"USD": 1.1602, "GBP": 0.8675}, "2026-03-06": {"USD": 1.16, "GBP": 0.86}},
    }
    everything = (await api.get(f"/rates/2026-03-06..2026-03-09?as_of={as_of}")).json()
    assert everything["rates"] == {"2026-03-06": {**MARCH["2026-03-06"], "USD": 1.16, "GBP": 0.86}}
    table = await api.get(f"/rates/2026-03-06..2026-03-09.csv?symbols=USD&as_of={as_of}")
    assert table.text.splitlines()[1:] == ["2026-03-06,EUR,USD,1.16"]


async def test_a_conversion_and_a_fluctuation_as_known_at_an_instant(api: Api) -> None:
    as_of = "2026-03-07T12:00:00Z"
    converted = (await api.get(f"/rates/convert?from=EUR&to=USD&amount=100&as_of={as_of}")).json()
    assert converted == {
        "success": True,
        "query": {"from": "EUR", "to": "USD", "amount": 100},
        "info": {"timestamp": 1772841599, "rate": 1.16},
        "date": "2026-03-06",
        "as_of": as_of,
        "result": 116,
    }
    changed = await api.get(
        f"/rates/fluctuation?start_date=2026-03-05&end_date=2026-03-06&symbols=GBP&as_of={as_of}"
    )
    assert changed.json() == {
        "success": True,
        "fluctuation": True,
        "start_date": "2026-03-05",
        "end_date": "2026-03-06",
        "base": "EUR",
        "as_of": as_of,
        "rates": {
            "GBP": {"start_rate": 0.8675, "end_rate": 0.86, "change": -0.0075, "change_pct": -0.8645533141}
        },
    }


DATES = ["2026-01-05", "2026-01-06", "2026-01-07", "2026-01-09"]
CODES = ["EUR", "GBP", "USD"]
FIRST = dt.datetime(2026, 1, 10, tzinfo=dt.timezone.utc)

some_rates = st.dictionaries(
    st.sampled_from(CODES), st.sampled_from([0.5, 1.0, 1.25]) | st.floats(1e-9, 1e9), min_size=1
)
some_days = st.dictionaries(st.sampled_from(DATES), some_rates, min_size=1)
gaps = st.sampled_from([dt.timedelta(microseconds=1), dt.timedelta(hours=7), dt.timedelta(days=1)])


@dataclass(frozen=True)
class StoredAt:
    """The days of a fetch, and the time when it was stored."""

    at: dt.datetime
    days: Mapping[str, Mapping[str, float]]


@st.composite
def histories(draw: st.DrawFn) -> list[StoredAt]:
    """Draw fetches whose values appear, change, vanish and return."""
    fetches, at = [], FIRST
    for days in draw(st.lists(some_days, min_size=1, max_size=6)):
        fetches.append(StoredAt(at, days))
        at += draw(gaps)
    return fetches


def known(fetches: list[StoredAt], as_of: dt.datetime) -> dict[str, dict[str, float]]:
    """Return the days of the model, in which later fetches overwrite only the values that they have."""
    days: dict[str, dict[str, float]] = {}
    for fetch in fetches:
        if fetch.at <= as_of:
            for date, rates in fetch.days.items():
                days.setdefault(date, {}).update(rates)
    return days


def shown(rates: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return the rates of a day as in a document."""
    return None if rates is None else {code: as_number(rate) for code, rate in rates.items()}


def text(instant: dt.datetime) -> str:
    """Return an instant as it is stored."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def rates_at(api: Api, path: str) -> Any:
    """Return the rates of a response; None for a 404."""
    response = await api.get(path)
    if response.status_code == 404:
        assert response.json()["error"]["code"] == 106
        return None
    assert response.status_code == 200, response.text
    return response.json()["rates"]


async def compare(api: Api, fetches: list[StoredAt], as_of: dt.datetime, base: str | None) -> None:
    """Compare every endpoint with the model."""
    days = known(fetches, as_of)
    ever = {code for fetch in fetches for rates in fetch.days.values() for code in rates} | {"EUR"}
    base = base if base in ever else None
    query = f"as_of={text(as_of)}" + (f"&base={base}" if base else "")
    model = {
        date: shown(rebase(rates, stored_base="EUR", base=base or "EUR")) for date, rates in days.items()
    }
    for date in DATES:
        assert await rates_at(api, f"/rates/{date}?{query}") == model.get(date)
    newest = max(days, default=None)
    assert await rates_at(api, f"/rates/latest?{query}") == (model[newest] if newest else None)

    series = {date: model[date] for date in sorted(model) if model[date] is not None}
    answer = await rates_at(api, f"/rates/{DATES[0]}..{DATES[-1]}?{query}")
    assert answer == (series or None)
    for code in ever - {"EUR"}:
        chosen = {date: {code: rates[code]} for date, rates in series.items() if rates and code in rates}
        answer = await rates_at(api, f"/rates/{DATES[0]}..?symbols={code}&{query}")
        assert (answer or {}) == chosen

    for start, end in {(DATES[0], DATES[-1]), (min(days, default=DATES[0]), newest or DATES[0])}:
        changes = await rates_at(api, f"/rates/fluctuation?start_date={start}&end_date={end}&{query}")
        first, last = model.get(start), model.get(end)
        if first is None or last is None:
            assert changes is None
        else:
            assert {
                code: (change["start_rate"], change["end_rate"], change["change"])
                for code, change in changes.items()
            } == {
                code: (first[code], last[code], fluctuation(float(first[code]), float(last[code]))[0])
                for code in first
                if code in last
            }


@settings(max_examples=60, deadline=None)
@given(fetches=histories(), data=st.data())
async def test_random_histories_match_the_model(fetches: list[StoredAt], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / "fx.db")
        for fetch in fetches:
            history.fetch(text(fetch.at), fetch.days)
        api = Api(history.path)
        instants = [
            fetch.at + shift * dt.timedelta(microseconds=1) for fetch in fetches for shift in (-1, 0, 1)
        ]
        for as_of in data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=4, unique=True)):
            await compare(api, fetches, as_of, data.draw(st.sampled_from([None, *CODES])))
        await api.close()
        history.close()


async def test_fetches_of_the_store_match_the_model(tmp_path: Path, open_api: OpenApi) -> None:
    """The store sets the instants itself."""
    given_days = [
        {"2026-01-05": {"EUR": 1, "USD": 1.1, "GBP": 0.9}, "2026-01-06": {"EUR": 1, "USD": 1.2}},
        {"2026-01-05": {"EUR": 1, "USD": 1.15}},
        {"2026-01-05": {"EUR": 1, "USD": 1.1, "GBP": 0.91}, "2026-01-07": {"USD": 1.3}},
        {"2026-01-06": {"EUR": 1, "USD": 1.2}},
    ]
    with RateStore(tmp_path / "fx.db") as store:
        for days in given_days:
            store.record([answered(days)])
    history = History(tmp_path / "fx.db")
    at = [dt.datetime.fromisoformat(row["fetched_at"][:-1] + "+00:00") for row in history.db["fetches"].rows]
    history.close()
    fetches = [StoredAt(instant, days) for instant, days in zip(at, given_days, strict=True)]
    api = open_api(tmp_path / "fx.db")
    api.now = at[-1] + dt.timedelta(minutes=1)
    for instant in at:
        for shift in (-1, 0, 1):
            await compare(api, fetches, instant + shift * dt.timedelta(microseconds=1), None)


async def test_a_response_stored_while_the_clock_was_ahead(tmp_path: Path, open_api: OpenApi) -> None:
    """After the next response, `as_of` works for every instant before and after it."""
    given_days = [
        {"2026-01-05": {"EUR": 1, "USD": 1.1}},
        {"2026-01-05": {"EUR": 1, "USD": 1.15}, "2026-01-06": {"EUR": 1, "USD": 1.2}},
        {"2026-01-05": {"EUR": 1, "USD": 1.12}},
        {"2026-01-06": {"EUR": 1, "USD": 1.25}, "2026-01-07": {"EUR": 1, "USD": 1.3}},
    ]
    at = [FIRST + dt.timedelta(days=day) for day in range(4)]
    clocks = iter([at[0], at[1] + dt.timedelta(days=400), at[2], at[3]])
    with RateStore(tmp_path / "fx.db", now=lambda: next(clocks)) as store:
        for days in given_days:
            store.record([answered(days)])
    api = open_api(tmp_path / "fx.db")
    api.now = at[3] + dt.timedelta(minutes=1)
    # The response with the wrong time counts as known from just before the next one.
    known_from = [at[0], at[2] - dt.timedelta(microseconds=1), at[2], at[3]]
    fetches = [StoredAt(instant, days) for instant, days in zip(known_from, given_days, strict=True)]
    for as_of in (*at, *known_from, at[1] + dt.timedelta(hours=12), api.now):
        await compare(api, fetches, as_of, None)


def answered(days: Mapping[str, Mapping[str, float]]) -> Fetch:
    """Return a response as the client parses it."""
    return Fetch(
        endpoint="historical",
        base="EUR",
        symbols=(),
        start_date=dt.date.fromisoformat(min(days)),
        end_date=dt.date.fromisoformat(max(days)),
        asked_at=FIRST,
        status="ok",
        body=b"{}",
        days=tuple(
            DayRates(date=dt.date.fromisoformat(date), base="EUR", timestamp=0, rates=rates)
            for date, rates in days.items()
        ),
    )


EPOCH = dt.datetime(1999, 1, 1, tzinfo=dt.timezone.utc)
instants = st.integers(0, 10**12 * 3).map(
    lambda milliseconds: EPOCH + dt.timedelta(milliseconds=milliseconds)
)
zones = st.sampled_from([dt.timezone(dt.timedelta(minutes=minutes)) for minutes in (0, 330, -300, 60)])
precisions = st.sampled_from(["milliseconds", "seconds", "minutes"])
PARTS = yaml.safe_load((PROJECT / "datasette_config" / "metadata.yaml").read_text())["sql_parts"]
READ_INSTANT = f"WITH {PARTS['known']} SELECT text FROM instant"  # noqa: S608


@settings(max_examples=200, deadline=None)
@given(instant=instants, zone=zones, precision=precisions)
def test_queries_and_endpoints_read_an_instant_alike(
    instant: dt.datetime, zone: dt.timezone, precision: str
) -> None:
    written = instant.astimezone(zone).isoformat(timespec=precision)
    parameters = Parameters.parse(
        urlencode({"as_of": written}), dt.datetime(2100, 1, 1, tzinfo=dt.timezone.utc)
    )
    as_of = parameters.as_of()
    assert as_of
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE fetches (id, fetched_at)")
        for form in (written, written.replace("+", " "), as_of.stored):
            assert connection.execute(READ_INSTANT, {"as_of": form}).fetchone() == (as_of.stored,)
