"""Links to Dagster: pages have them only where they lead somewhere. A missing day can be fetched there."""

import datetime as dt
import re
from typing import Any

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History

LOCAL = "127.0.0.1:8001"
PUBLIC = "rates.example.org"
OWN = "http://127.0.0.1:3000"
OUTSIDE = "https://dagster.example.org"
START = dt.date(2000, 1, 1)

NOT_OVER = "This day is not over yet. It can be fetched from 00:00 UTC on 11 March 2026."
TOO_EARLY = "Only days from 1 January 2000 on are fetched (FX_START_DATE)."
COMMAND = "<code>fx-pipeline ingest --date 2026-03-07</code>"

PAGES = ("/", "/coverage/", "/coverage/?year=2020", "/currency/USD/", "/fx/rates_by_date?date=2026-03-07")


def links(page: str, dagster: str) -> list[str]:
    """Return the links of a page to Dagster, without its address."""
    return re.findall(rf'href="{re.escape(dagster)}([^"]*)"', page)


@pytest.mark.parametrize(
    ("query", "host", "dagster", "shown", "absent"),
    [
        ("date=2026-03-07", LOCAL, OWN, "Fetch this day", COMMAND),
        ("date=2026-03-07", "localhost:8001", OWN, "Fetch this day", COMMAND),
        ("date=2026-03-07", PUBLIC, OWN, COMMAND, "Fetch this day"),
        ("date=2026-03-07", PUBLIC, OUTSIDE, "Fetch this day", COMMAND),
        ("date=2026-03-10", LOCAL, OWN, NOT_OVER, "Fetch this day"),
        ("date=1999-12-31", LOCAL, OWN, TOO_EARLY, "Fetch this day"),
        ("date=2026-03-06&as_of=2026-03-05", LOCAL, OWN, "No rates were known", "Fetch this day"),
    ],
)
async def test_the_page_of_a_missing_day_offers_to_fetch_it_or_says_why_not(
    history: History, open_api: OpenApi, query: str, host: str, dagster: str, shown: str, absent: str
) -> None:
    api = open_api(
        history.path, fx_start_date=START, **({} if dagster == OWN else {"fx_dagster_url": dagster})
    )
    response = await api.get(f"/fx/rates_by_date?{query}", host=host)
    assert response.status_code == 404
    assert shown in response.text
    assert absent not in response.text
    expected = ["/fetch/?date=2026-03-07"] if shown == "Fetch this day" else []
    assert links(response.text, dagster) == expected


@pytest.mark.parametrize("path", ["/", "/fx/rates_by_date", "/fx/rates_by_date?date=2026-03-07"])
@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({}, "1999-01-01"),
        ({"fx_start_date": dt.date(1999, 1, 3)}, "1999-01-03"),
        # Days that were stored before the setting was changed can still be chosen.
        ({"fx_start_date": START}, "1999-01-04"),
    ],
)
async def test_the_date_field_accepts_any_day_that_can_be_fetched(
    history: History, open_api: OpenApi, path: str, settings: dict[str, Any], first: str
) -> None:
    page = (await open_api(history.path, **settings).get(path)).text
    [field] = re.findall(r'<input type="date" name="date"[^>]*>', page)
    assert f'min="{first}" max="2026-03-09"' in field


@pytest.mark.parametrize("is_holder", [False, True])
async def test_a_page_links_to_dagster_only_where_that_leads_somewhere(
    history: History, api: Api, open_api: OpenApi, is_holder: bool
) -> None:
    sent = {}
    if is_holder:  # sees the latest fetches, too, with the runs that made them
        history.db.execute("UPDATE fetches SET run_id = '01234567-89ab-cdef-0123-456789abcdef'")
        token = TokenFile(history.path.with_name("tokens.db")).create("reports")
        sent = {"Authorization": f"Bearer {token}"}
    linked = set()
    for path in PAGES:
        local = await api.get(path, host=LOCAL, **sent)
        public = await api.get(path, host=PUBLIC, **sent)
        assert OWN not in public.text
        if links(local.text, OWN):
            linked.add(path)
    assert linked == {path for path in PAGES if "coverage" in path or "03-07" in path}
    outside = open_api(history.path, fx_dagster_url=OUTSIDE)
    assert links((await outside.get("/coverage/", host=PUBLIC, **sent)).text, OUTSIDE)


async def test_a_page_without_stored_days_links_to_dagster_alike(tmp_path: Any, open_api: OpenApi) -> None:
    history = History(tmp_path / "fx.db")
    history.close()
    api = open_api(history.path)
    assert links((await api.get("/", host=LOCAL)).text, OWN)
    assert OWN not in (await api.get("/", host=PUBLIC)).text


async def test_visitors_with_and_without_links_share_no_cached_page(api: Api) -> None:
    local = await api.get("/coverage/", host=LOCAL)
    assert local.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": local.headers["etag"]}
    assert (await api.get("/coverage/", host=LOCAL, **known)).status_code == 304
    public = await api.get("/coverage/", host=PUBLIC, **known)
    assert public.status_code == 200
    assert OWN not in public.text


async def test_pages_do_not_offer_to_launch_runs_in_a_read_only_ui(
    history: History, open_api: OpenApi, tmp_path: Any
) -> None:
    chosen = {"fx_start_date": START, "fx_dagster_read_only": True}
    api = open_api(history.path, **chosen)
    day = await api.get("/fx/rates_by_date?date=2026-03-07", host=LOCAL)
    assert COMMAND in day.text
    assert links(day.text, OWN) == links((await api.get("/coverage/", host=LOCAL)).text, OWN) == []
    (tmp_path / "empty").mkdir()
    History(tmp_path / "empty" / "fx.db").close()
    empty = await open_api(tmp_path / "empty" / "fx.db", **chosen).get("/", host=LOCAL)
    assert "fx-pipeline ingest" in empty.text
    assert links(empty.text, OWN) == []
