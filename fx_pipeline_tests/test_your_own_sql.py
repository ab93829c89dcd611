"""The examples in docs/your-own-sql.md, run on a copy of a database that is in use."""

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.settings import PROJECT
from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.snippets import snippets, value_of

PAGE = (PROJECT / "docs" / "your-own-sql.md").read_text(encoding="utf-8")
TODAY = dt.datetime.now(dt.timezone.utc).date()
BIN = Path(sys.executable).parent


def ago(days: int) -> str:
    return str(TODAY - dt.timedelta(days))


RATES = {
    ago(back): {"GBP": 0.8 + back / 100, "JPY": 160.0 + back, "USD": 1.1 + back / 64}
    for back in range(40, 0, -1)
    if back not in (5, 6)
}
REVISED = ago(7)
OLD = {**RATES[REVISED], "USD": 1.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder with a database whose log holds its newest rates, and the documented copy of it."""
    folder = tmp_path_factory.mktemp("sql")
    (folder / "data").mkdir()
    history = History(folder / "data" / "fx.db")
    early = {date: rates for date, rates in RATES.items() if date < ago(3)}
    history.fetch(f"{ago(3)}T00:05:00.000000Z", {**early, REVISED: OLD})
    late = {date: RATES[date] for date in (REVISED, ago(3), ago(2), ago(1))}
    history.fetch(f"{ago(0)}T00:00:00.000000Z", late)
    assert (folder / "data" / "fx.db-wal").stat().st_size
    [copy, *_] = snippets("sh", PAGE)
    run(copy, folder)
    yield folder
    history.close()


def run(command: str, folder: Path) -> str:
    """Run a shell snippet with the programs of this environment, and return its output."""
    command = command.replace(".venv/bin/", f"{BIN}/")
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def query(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "fx-copy.db")) as connection:
        yield connection


def test_queries(query: sqlite3.Connection) -> None:
    monthly, cross, as_of, revisions, gaps = (query.execute(sql).fetchall() for sql in snippets("sql", PAGE))

    by_month: dict[tuple[str, str], list[float]] = defaultdict(list)
    for date, rates in RATES.items():
        for code in ("GBP", "USD"):
            by_month[date[:7], code].append(rates[code])
    assert [(month, code, days) for month, code, _, days in monthly] == [
        (month, code, len(values)) for (month, code), values in sorted(by_month.items())
    ]
    for month, code, mean, days in monthly:
        assert mean == pytest.approx(sum(by_month[month, code]) / days)
    assert cross == [(date, rates["JPY"] / rates["USD"]) for date, rates in RATES.items() if date >= ago(30)]
    assert as_of == list(OLD.items())
    assert revisions == [
        (REVISED, "USD", OLD["USD"], RATES[REVISED]["USD"], f"{ago(0)}T00:00:00.000000Z", None)
    ]
    assert gaps == [(ago(6), ago(5))]


def test_the_shell_of_sqlite(folder: Path, tmp_path: Path) -> None:
    if not shutil.which("sqlite3"):
        pytest.skip("needs the sqlite3 shell: apt-get install sqlite3")
    copy, show = (snippet for snippet in snippets("sh", PAGE) if snippet.startswith("sqlite3 "))
    (tmp_path / "data").symlink_to(folder / "data")
    run(copy, tmp_path)
    table = run(show, tmp_path)
    assert re.findall(r"\d{4}-\d\d-\d\d", table) == [ago(back) for back in (1, 2, 3, 4, 7)]


def test_datasette(folder: Path) -> None:
    [serve] = [snippet for snippet in snippets("sh", PAGE) if "datasette serve" in snippet]
    once = re.sub(r"--port \d+", "--get '/fx-copy.json?sql=select+count(*)+from+rates&_shape=arrays'", serve)
    assert json.loads(run(once, folder))["rows"] == [[3 * len(RATES)]]


def test_pandas_and_polars(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    pandas, polars = (value_of(snippet) for snippet in snippets("python", PAGE) if "duckdb" not in snippet)
    expected = [(dt.date.fromisoformat(date), *rates.values()) for date, rates in RATES.items()]
    assert [(day.date(), *rates) for day, *rates in pandas.itertuples()] == expected
    assert polars.select("date", "GBP", "JPY", "USD").sort("date").rows() == expected


def test_duckdb(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    extension = pytest.importorskip("duckdb_extension_sqlite", reason="has no package for this platform")
    [file] = Path(extension.__file__).parent.rglob("*.duckdb_extension")
    duckdb.sql(f"SET extension_directory = '{tmp_path}'")
    duckdb.sql(f"INSTALL '{file}'")
    monkeypatch.chdir(folder)
    [snippet] = [snippet for snippet in snippets("python", PAGE) if "duckdb" in snippet]
    found = value_of(snippet).fetchall()
    assert found == [
        (code, len(RATES), max(rates[code] for rates in RATES.values())) for code in ("GBP", "JPY", "USD")
    ]
