"""The page that fetches one day, in front of the Dagster UI: what it says, launches and refuses."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import requests
from playwright.sync_api import Browser, Page

from fx_pipeline.clock import today, yesterday
from fx_pipeline.dagster_internals.tags import PARTITION_TAG
from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.dagster_ui.conftest import FOREIGN
from fx_pipeline_tests.dagster_ui.server import UI, serving_ui
from fx_pipeline_tests.pages.browser import PHONE, Visitor
from fx_pipeline_tests.pages.checks import failures, wider_than_the_window
from fx_pipeline_tests.waiting import PATIENCE

API = "http://127.0.0.1:8001"
DAY = "2020-03-15"
QUOTA = 1000


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UI]:
    """Yield a UI of an installation with a key, a quota and an empty database. No daemon starts its runs."""
    folder = tmp_path_factory.mktemp("fetching")
    RateStore(folder / "fx.db").close()
    with serving_ui(
        folder,
        FIXER_ACCESS_KEY="0123456789abcdef",
        FIXER_MONTHLY_QUOTA=str(QUOTA),
        FX_START_DATE="2019-01-01",
    ) as ui:
        yield ui


def get(ui: UI, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{ui.url}{path}", headers=headers, timeout=PATIENCE, allow_redirects=False)


def press(ui: UI, date: str, **headers: str) -> requests.Response:
    """Send the form of the page, as a browser does."""
    sent = {"Origin": ui.url, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return requests.post(
        f"{ui.url}/fetch/", {"date": date}, headers=sent, timeout=PATIENCE, allow_redirects=False
    )


def run_of(home: Path, date: str, status: dg.DagsterRunStatus, reason: str = "") -> str:
    """Store a run of a day that has ended, and return its id."""
    with open_instance(home) as instance:
        job = defs.resolve_job_def("rates_job")
        run = instance.create_run_for_job(job, tags={PARTITION_TAG: date}, status=status)
        if reason:
            instance.report_run_failed(run, reason)
    return run.run_id


def test_the_page_says_what_is_fetched_and_what_it_costs(ui: UI) -> None:
    response = get(ui, f"/fetch/?date={DAY}")
    assert response.status_code == 200
    assert "This fetches the rates of Sunday, 15 March 2020 from Fixer and stores them." in response.text
    assert "It costs one call." in response.text
    assert " of this month’s 1,000 calls are left; another " in response.text
    assert f'href="{API}/fx/rates_by_date?date={DAY}"' in response.text
    assert response.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_a_call_is_not_free_if_only_the_code_server_has_the_key(tmp_path: Path) -> None:
    with serving_ui(tmp_path, FX_CODE_SERVER="127.0.0.1:1") as ui:
        assert "It costs one call." in get(ui, f"/fetch/?date={DAY}").text


@pytest.mark.parametrize(
    ("date", "why"),
    [
        ("2018-12-31", "Only days from 1 January 2019 on are fetched (FX_START_DATE)."),
        # Not today: it is over if midnight passes before the test.
        (str(today() + dt.timedelta(1)), "This day is not over yet. It can be fetched from 00:00 UTC on "),
        (str(today() + dt.timedelta(400)), "This day is not over yet. It can be fetched from 00:00 UTC on "),
        ("2020-02-30", "Enter a date such as 2020-03-15."),
        ("<b>", "Enter a date such as 2020-03-15."),
    ],
)
def test_a_day_that_cannot_be_fetched_has_no_button(ui: UI, date: str, why: str) -> None:
    before = ui.state()
    for response in (get(ui, f"/fetch/?date={date}"), press(ui, date)):
        assert response.status_code == 400
        assert why in response.text
        assert 'method="post"' not in response.text
        assert "<b>" not in response.text
    assert ui.state() == before


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (f"date={DAY}&date=2020-03-16", "The parameter &#39;date&#39; is given more than once."),
        ("day=2020-03-16", "This page has no parameter &#39;day&#39;. It has: date, run."),
    ],
)
def test_a_request_that_could_mean_another_day_is_refused(ui: UI, query: str, why: str) -> None:
    response = get(ui, f"/fetch/?{query}")
    assert (response.status_code, why in response.text) == (400, True)
    assert 'method="post"' not in response.text


def test_a_form_with_two_days_launches_nothing(ui: UI) -> None:
    before = ui.state()
    sent = requests.post(
        f"{ui.url}/fetch/",
        [("date", DAY), ("date", "2020-03-16")],
        headers={"Origin": ui.url},
        timeout=PATIENCE,
    )
    assert (sent.status_code, "given more than once" in sent.text) == (400, True)
    assert ui.state() == before


@pytest.mark.parametrize("path", ["/fetch", "/fetch/", "/fetch/?date="])
def test_without_a_day_the_page_asks_for_one(ui: UI, path: str) -> None:
    before = yesterday()
    response = get(ui, path)
    assert response.status_code == 200
    [last] = re.findall(
        '<input type="date" name="date" min="2019-01-01" max="(.*?)" required>', response.text
    )
    assert last in (str(before), str(yesterday()))


def test_the_button_launches_one_run_as_the_ui_does(ui: UI) -> None:
    first = press(ui, DAY)
    assert first.status_code == 303
    run_id = first.headers["location"].removeprefix("/fetch/?run=")
    with open_instance(ui.home) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert (run.job_name, run.status) == ("rates_job", dg.DagsterRunStatus.QUEUED)
        assert run.tags.items() >= {PARTITION_TAG: DAY, "dagster/from_ui": "true"}.items()
        assert run.remote_job_origin is not None  # so that the UI can re-execute it
    assert press(ui, DAY).headers["location"] == first.headers["location"]
    assert press(ui, "2020-03-16").headers["location"] != first.headers["location"]
    page = get(ui, f"/fetch/?run={run_id}")
    assert "The run is waiting for Dagster to start it." in page.text
    assert '<noscript><meta http-equiv="refresh" content="1"></noscript>' in page.text
    status = get(ui, f"/fetch/status?run={run_id}").json()
    assert status == {"text": "The run is waiting for Dagster to start it.", "ended": False}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://foreign.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": API}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": "foreign.example", "Origin": "http://foreign.example"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "multipart/form-data; boundary=b"}, 415),
    ],
)
def test_only_the_page_itself_can_launch_a_run(ui: UI, headers: dict[str, str], status: int) -> None:
    before = ui.state()
    assert press(ui, "2020-04-01", **headers).status_code == status
    assert ui.state() == before


def test_a_request_without_an_origin_or_by_get_launches_nothing(ui: UI) -> None:
    before = ui.state()
    bare = requests.post(f"{ui.url}/fetch/", {"date": "2020-04-01"}, timeout=PATIENCE)
    assert (bare.status_code, "This request comes from an unknown page." in bare.text) == (403, True)
    for path in ("/fetch/?date=2020-04-01", "/fetch/?date=2020-04-01&launch=1", "/fetch/status"):
        get(ui, path)
    assert ui.state() == before


def test_a_stored_day_leads_back_to_its_page(ui: UI) -> None:
    run_id = run_of(ui.home, DAY, dg.DagsterRunStatus.SUCCESS)
    assert get(ui, f"/fetch/status?run={run_id}").json() == {"text": "The rates are stored.", "ended": True}
    response = get(ui, f"/fetch/?run={run_id}")
    assert response.status_code == 303
    assert response.headers["location"] == f"{API}/fx/rates_by_date?date={DAY}"


def test_a_failed_run_shows_its_reason_and_can_be_repeated(ui: UI) -> None:
    reason = "Fixer does not know this key <404>."
    run_id = run_of(ui.home, DAY, dg.DagsterRunStatus.STARTED, reason)
    response = get(ui, f"/fetch/?run={run_id}")
    assert response.status_code == 200
    assert "Fixer does not know this key &lt;404&gt;." in response.text
    assert f'<a href="/runs/{run_id}">' in response.text
    assert f'<input type="hidden" name="date" value="{DAY}"><button>Try again</button>' in response.text
    assert "refresh" not in response.text
    assert get(ui, f"/fetch/status?run={run_id}").json()["ended"] is True


def test_a_cancelled_run_is_reported(ui: UI) -> None:
    run_id = run_of(ui.home, DAY, dg.DagsterRunStatus.CANCELED)
    assert "The run was cancelled." in get(ui, f"/fetch/?run={run_id}").text


@pytest.mark.parametrize("run_id", ["unknown", "11111111-2222-3333-4444-555555555555"])
def test_an_unknown_run_gets_a_404(ui: UI, run_id: str) -> None:
    assert get(ui, f"/fetch/?run={run_id}").status_code == 404
    assert get(ui, f"/fetch/status?run={run_id}").status_code == 404


@pytest.mark.parametrize("name", ["fetch.js", "pages.css", "icon.svg"])
def test_the_files_of_the_page_are_served(ui: UI, name: str) -> None:
    assert get(ui, f"/fetch/{name}").status_code == 200


def test_a_form_of_another_site_launches_nothing(page: Page, ui: UI, elsewhere: int) -> None:
    page.goto(f"http://{FOREIGN}:{elsewhere}/")
    before = ui.state()
    page.evaluate(
        """([action, date]) => {
            const form = document.createElement('form'), input = document.createElement('input');
            Object.assign(form, {method: 'post', action});
            Object.assign(input, {name: 'date', value: date});
            form.append(input);
            document.body.append(form);
            form.submit();
        }""",
        [f"{ui.url}/fetch/", "2020-04-01"],
    )
    page.get_by_text("This request comes from a page of another site").wait_for()
    assert ui.state() == before


def test_every_state_of_the_page_fits_a_phone_and_is_accessible(browser: Browser, ui: UI) -> None:
    failed = run_of(ui.home, "2020-03-20", dg.DagsterRunStatus.STARTED, "Fixer is down.")
    visitor = Visitor(browser, ui.url, size=PHONE)
    headings = {
        "/fetch/": "Fetch a day",
        "/fetch/?date=1990-01-01": "Fetch a day",
        f"/fetch/?date={DAY}": "Fetch 15 March 2020",
        press(ui, "2020-03-19").headers["location"]: "Fetching 19 March 2020",
        f"/fetch/?run={failed}": "20 March 2020 was not fetched",
    }
    for path, heading in headings.items():
        visitor.open(path)
        assert visitor.page.get_by_role("heading").all_inner_texts() == [heading]
        assert (wider_than_the_window(visitor), failures(visitor)) == ([], [])
        visitor.page.emulate_media(color_scheme="dark")
        assert failures(visitor, "color-contrast") == []
        visitor.page.emulate_media(color_scheme="light")
    assert visitor.problems == []
    assert [path for path in visitor.requested if not path.startswith("/fetch/")] == []
    visitor.close()
