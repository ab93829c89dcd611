"""The static export: its files are the API's responses, and a later export writes only what changed."""

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fx_pipeline.export.folder import STATE, ExportError, Folder
from fx_pipeline.export.static import export
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates
from fx_pipeline.settings import Settings
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.export.exporting import DAYS, NOW, exported, tree
from fx_pipeline_tests.served import served


def assert_current(history: History, folder: Path, fresh: Path) -> None:
    """Fail unless the folder has the same files as a new export."""
    exported(history, fresh)
    assert tree(folder) == tree(fresh)


def path_of(name: str, newest: str) -> str:
    """Return the path of the API with the response that a file holds."""
    if match := re.fullmatch(r"history/(\w+)/(\d+)", name):
        code, year = match.groups()
        end = "" if newest.startswith(year) else f"{year}-12-31"
        return f"/rates/{year}-01-01..{end}/?symbols={code}"
    return f"/{name}"


async def test_each_file_is_a_response_of_the_api(history: History, tmp_path: Path) -> None:
    done = exported(history, tmp_path / "site")
    files = tree(tmp_path / "site")
    assert (done.days, done.written, done.removed) == (len(DAYS), len(files), 0)
    index = json.loads(files.pop("index.json"))
    rules = headers_of(files.pop("_headers").decode())
    years = {"EUR": "346", "USD": "346", "GBP": "346", "JPY": "46"}
    assert set(files) == {
        *(f"rates/{name}" for name in (*DAYS, "latest", "symbols", "currencies")),
        *(f"history/{code}/202{year}" for code, digits in years.items() for year in digits),
    }
    async with served(history.path) as client:
        for name, content in files.items():
            response = await client.get(path_of(name, "2026-03-09"))
            assert (response.status_code, response.content) == (200, content), name
            headers = matching(rules, f"/{name}")
            assert headers["Content-Type"] == response.headers["content-type"]
            assert headers["Access-Control-Allow-Origin"] == "*"
    assert b'"missing"' in files["history/JPY/2024"]
    assert index["files"] == {
        "latest": "/rates/latest",
        "symbols": "/rates/symbols",
        "currencies": "/rates/currencies",
        "day": "/rates/{date}",
        "history": "/history/{currency}/{year}",
    }
    assert (index["base"], index["latest_date"]) == ("EUR", "2026-03-09")
    assert index["days"] == [
        ["2023-12-30", "2024-01-01"],
        ["2024-06-01", "2024-06-01"],
        ["2024-06-03", "2024-06-03"],
        ["2026-03-08", "2026-03-09"],
    ]
    assert index["currencies"]["JPY"] == {
        "name": "JPY",
        "first_date": "2024-06-01",
        "last_date": "2026-03-09",
    }


def headers_of(text: str) -> list[tuple[str, dict[str, str]]]:
    """Parse a file `_headers`: a path, then indented headers."""
    rules: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        if line.startswith("/"):
            rules.append((line, {}))
        else:
            name, value = line.strip().split(": ", 1)
            rules[-1][1][name] = value
    return rules


def matching(rules: list[tuple[str, dict[str, str]]], path: str) -> dict[str, str]:
    """Return the headers of a path. Fail if two rules set the same one: hosts would join both values."""
    found: dict[str, str] = {}
    for pattern, headers in rules:
        if path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1])):
            assert not found.keys() & headers.keys(), path
            found |= headers
    return found


def test_only_years_that_no_longer_change_are_cached_for_a_day(history: History, tmp_path: Path) -> None:
    exported(history, tmp_path / "site")
    rules = headers_of((tmp_path / "site" / "_headers").read_text())
    settled = [name for name in tree(tmp_path / "site") if "86400" in str(matching(rules, f"/{name}"))]
    assert sorted(settled) == sorted(f"rates/{day}" for day in DAYS if day < "2026")
    changing = {"rates/latest", "rates/symbols", "history/USD/2024", "rates/2026-03-08", "index.json"}
    for name in changing:
        assert matching(rules, f"/{name}")["Cache-Control"] == "public, max-age=60"


def test_a_second_export_writes_nothing(history: History, tmp_path: Path) -> None:
    site = tmp_path / "site"
    exported(history, site)
    before = {path: path.stat().st_ino for path in site.rglob("*") if path.is_file() and path.name != STATE}
    done = exported(history, site)
    assert (done.written, done.removed) == (0, 0)
    assert {path: path.stat().st_ino for path in before} == before


def test_a_revised_value_changes_its_day_and_the_history_of_its_currency(
    history: History, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    exported(history, site)
    before = tree(site)
    revised = {**DAYS["2024-01-01"], "USD": 1.2}
    history.fetch("2026-03-10T06:00:00.000000Z", {"2024-01-01": revised})
    done = exported(history, site)
    after = tree(site)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"rates/2024-01-01", "history/USD/2024"}
    assert done.written == 2


Step = Mapping[str, Mapping[str, float]]

STEPS: list[tuple[str, Step]] = [
    ("a new day", {"2026-03-10": {"EUR": 1, "USD": 1.17, "GBP": 0.87, "JPY": 185}}),
    ("a day without a currency", {"2026-03-11": {"EUR": 1, "USD": 1.18, "JPY": 186}}),
    ("an old day", {"2024-06-02": {"EUR": 1, "USD": 1.085, "GBP": 0.855}}),
    ("a day before all others", {"2022-05-05": {"EUR": 1, "GBP": 0.85}}),
    ("an added currency", {"2024-06-03": {**DAYS["2024-06-03"], "CHF": 0.95}}),
    ("a new year", {"2027-01-01": {"EUR": 1, "USD": 1.2, "CHF": 0.94}}),
    ("the end of the year before", {"2026-12-31": {"EUR": 1, "USD": 1.21}}),
    ("revisions of two years", {"2023-12-31": {"USD": 1.106}, "2024-01-01": {"GBP": 0.871}}),
    ("nothing new", {"2027-01-01": {"EUR": 1, "USD": 1.2, "CHF": 0.94}}),
]


def test_after_each_change_the_files_are_those_of_a_new_export(history: History, tmp_path: Path) -> None:
    site = tmp_path / "site"
    exported(history, site)
    day = (site / "rates" / "2023-12-30").read_bytes()
    for number, (what, days) in enumerate(STEPS):
        untouched = site / "rates" / "2023-12-30"
        untouched.write_text("an incremental export does not read this")
        history.fetch(f"2027-01-02T00:{number:02}:00.000000Z", days)
        exported(history, site)
        assert untouched.read_text().startswith("an incremental"), what
        untouched.write_bytes(day)
        assert_current(history, site, tmp_path / str(number))
    history.name(GBP="British Pound Sterling")
    assert exported(history, site).written == 3  # symbols, currencies, and the index
    assert_current(history, site, tmp_path / "named")


def test_after_a_rebuild_all_files_are_compared_and_others_removed(history: History, tmp_path: Path) -> None:
    site = tmp_path / "site"
    exported(history, site)

    def parse(fetch: Fetch) -> Fetch:
        """Find that a day and a value of the response were wrong."""
        days = [
            DayRates(date=dt.date.fromisoformat(date), base="EUR", timestamp=1, rates={**rates, "GBP": 0.9})
            for date, rates in DAYS.items()
            if date != "2023-12-31"
        ]
        return replace(fetch, days=tuple(days) if fetch.endpoint == "historical" else ())

    with RateStore(history.path) as store:
        store.rebuild(parse)
    (site / "history" / "OLD").mkdir()
    (site / "history" / "OLD" / "2020").write_text("{}")
    (site / "robots.txt").write_text("User-agent: *")
    assert exported(history, site).removed == 2
    assert not (site / "history" / "OLD").exists()
    assert (site / "robots.txt").exists()
    (site / "robots.txt").unlink()
    assert_current(history, site, tmp_path / "fresh")


def test_an_export_of_another_database_replaces_all_files(history: History, tmp_path: Path) -> None:
    site = tmp_path / "site"
    exported(history, site)
    other = History(tmp_path / "other.db")
    other.fetch("2026-03-09T00:05:00.000000Z", {"2026-03-08": {"EUR": 1, "USD": 1.2}})
    exported(other, site)
    assert_current(other, site, tmp_path / "fresh")
    other.close()


class Interrupted(Exception):
    """What ends an export in the test."""


class Breaking(Folder):
    """A folder whose export ends before one of its files."""

    def __init__(self, path: Path, after: int) -> None:
        super().__init__(path)
        self._left = after

    def put(self, name: str, content: bytes | None) -> None:
        if not self._left:
            # As a process that was killed leaves it.
            (self.path / ".fx-pipeline-unfinished").write_bytes((content or b"")[:10])
            raise Interrupted
        self._left -= 1
        super().put(name, content)


@pytest.mark.parametrize("after", [0, 1, 9, 20])
def test_an_interrupted_export_can_be_repeated(history: History, tmp_path: Path, after: int) -> None:
    site, settings = tmp_path / "site", Settings(fx_database=history.path)
    with pytest.raises(Interrupted):
        export(settings, Breaking(site, after), NOW)
    assert all(content == expected for content, expected in partly(history, site, tmp_path / "first"))
    exported(history, site)
    history.fetch("2026-03-10T06:00:00.000000Z", {"2024-01-01": {"USD": 1.2}, "2026-03-10": {"USD": 1.3}})
    with pytest.raises(Interrupted):
        export(settings, Breaking(site, min(after, 5)), NOW)
    exported(history, site)
    assert_current(history, site, tmp_path / "fresh")


def partly(history: History, site: Path, fresh: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the content of each file that the interrupted export has written, and what it should be."""
    exported(history, fresh)
    whole = tree(fresh)
    for name, content in tree(site).items():
        if name != ".fx-pipeline-unfinished":
            yield content, whole[name]


def test_a_damaged_state_leads_to_a_full_export(history: History, tmp_path: Path) -> None:
    site = tmp_path / "site"
    exported(history, site)
    (site / "rates" / "2024-01-01").unlink()
    for damage in ("", "{}", "[1]", '{"mark": {"fetch": 1}}'):
        (site / STATE).write_text(damage)
        exported(history, site)
    assert_current(history, site, tmp_path / "fresh")


def test_only_one_export_writes_to_a_folder(history: History, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "site")
    with folder.held(), pytest.raises(ExportError, match="Another export is writing"):
        exported(history, tmp_path / "site")
