"""The screenshots in the documents, taken from a running instance by `make screenshots`.

The instance uses free ports and a temporary folder. It fetches all but five days since 2022 from the sandbox.
"""

import datetime as dt
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from playwright.sync_api import Page, ViewportSize

from fx_pipeline.clock import yesterday
from fx_pipeline.rates import date_range
from fx_pipeline.settings import PROJECT
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import PROGRAM, environment, run_command
from fx_pipeline_tests.pages.browser import Visitor, chromium, running_browser
from fx_pipeline_tests.ports import reserved_ports
from fx_pipeline_tests.waiting import PATIENCE, wait_for

FOLDER = PROJECT / "docs" / "screenshots"
SIZE: ViewportSize = {"width": 1200, "height": 760}
START = dt.date(2022, 1, 1)
GAP = (dt.date(2025, 5, 12), dt.date(2025, 5, 16))
PICTURES = {
    "home": "/",
    "currency": "/currency/USD/?range=all",
    "coverage": "/coverage/?year=2025",
}


def main() -> None:
    """Take all screenshots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory() as name,
        running_product(Path(name)) as api,
        running_browser(chromium()) as browser,
    ):
        visitor = Visitor(browser, api, size=SIZE)
        for picture, path in PICTURES.items():
            visitor.open(path)
            take(visitor.page, picture)
        if visitor.problems:
            raise RuntimeError(f"The pages have problems: {visitor.problems}")
        # Follow the link from the gaps to Dagster, as a user would.
        visitor.page.get_by_role("link", name="Fetch them in Dagster").click()
        visitor.page.get_by_text("Materialized").first.wait_for()
        visitor.page.wait_for_load_state("networkidle")
        take(visitor.page, "dagster")
        visitor.close()


def take(page: Page, name: str) -> None:
    """Save a screenshot of the page."""
    page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")


@contextmanager
def running_product(folder: Path) -> Iterator[str]:
    """Run `fx-pipeline up` with its days stored, and yield the address of its API."""
    with reserved_ports(3) as ports:
        yield from _running_product(folder, *ports)


def _running_product(folder: Path, api: int, dagster: int, sandbox: int) -> Iterator[str]:
    settings = {
        "FX_API_PORT": str(api),
        "FX_DAGSTER_PORT": str(dagster),
        "FX_SANDBOX_PORT": str(sandbox),
        "FX_START_DATE": str(START),
        "FIXER_TIMESERIES": "1",
    }
    product = subprocess.Popen([*PROGRAM, "up"], cwd=folder, env=environment(**settings))
    try:
        wait_until_answered(f"http://127.0.0.1:{api}/rates/{yesterday()}/")
        day = dt.timedelta(1)
        for first, last in ((START, GAP[0] - day), (GAP[1] + day, yesterday())):
            done = run_command(
                folder, "ingest", "--from", str(first), "--to", str(last), "--missing", **settings
            )
            assert done.returncode == 0, done.stdout + done.stderr
        with RateStore(folder / "data" / "fx.db") as store:
            store.want(list(date_range(*GAP)))
        wait_until_answered(f"http://127.0.0.1:{dagster}/server_info")
        yield f"http://127.0.0.1:{api}"
    finally:
        product.send_signal(signal.SIGINT)
        product.wait(PATIENCE)


def wait_until_answered(url: str) -> None:
    """Wait until a GET of `url` succeeds."""

    def answer() -> int | str:
        try:
            return requests.get(url, timeout=PATIENCE).status_code
        except requests.ConnectionError as error:
            return str(error)

    wait_for(answer, lambda found: found == 200, pause=0.2)


if __name__ == "__main__":
    main()
