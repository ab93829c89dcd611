"""Clients that are generated from the OpenAPI document, without a warning, and used on a running server."""

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.api.javascript import CLIENTS, node
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.command_line import environment
from fx_pipeline_tests.snippets import snippets, value_of

PAGE = (PROJECT / "docs" / "clients-and-spreadsheets.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8001"
PACKAGE = "foreign_exchange_rates_client"
UNKNOWN = "Unknown currency: CHF. See /rates/symbols for the available codes."


@pytest.fixture
def server(written: Path, tmp_path: Path) -> Iterator[Server]:
    shutil.copy(written, tmp_path / "fx.db")
    with serving(tmp_path / "fx.db", tmp_path / "log") as server:
        yield server


def run(command: list[str | Path], folder: Path) -> str:
    """Run a program in `folder`, with the programs of this environment, and return all of its output."""
    path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_python(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openapi_python_client", reason="needs Python 3.11")
    [command] = [snippet for snippet in snippets("sh", PAGE) if "openapi-python-client" in snippet]
    said = run([*command.replace(ADDRESS, server.url).split(), "--fail-on-warning"], tmp_path)
    assert said.splitlines() == [f"Generating {tmp_path / 'foreign-exchange-rates-client'}"]
    monkeypatch.syspath_prepend(tmp_path / "foreign-exchange-rates-client")

    models = import_module(f"{PACKAGE}.models")
    with import_module(PACKAGE).Client(base_url=server.url) as client:
        use(client, models)

    [example] = [snippet for snippet in snippets("python", PAGE) if PACKAGE in snippet]
    assert value_of(example.replace(ADDRESS, server.url)) == 0.8583690987

    token = TokenFile(tmp_path / "tokens.db").create("program")
    latest_rates = import_module(f"{PACKAGE}.api.days.latest_rates").sync
    with import_module(PACKAGE).Client(base_url=server.url) as client:
        assert latest_rates(client=client).status == 401
    with import_module(PACKAGE).AuthenticatedClient(base_url=server.url, token=token) as client:
        assert latest_rates(client=client).base == "EUR"


def use(client: Any, models: Any) -> None:
    """Call operations of each group, and check the parsed values."""

    def sync(name: str) -> Any:
        return import_module(f"{PACKAGE}.api.{name}").sync

    day = sync("days.rates_of_day")(dt.date(2026, 3, 6), client=client, symbols=["USD", "GBP"])
    assert (day.success, day.date, day.rates["USD"]) == (True, dt.date(2026, 3, 6), 1.1618)
    assert day.rates.to_dict() == {"USD": 1.1618, "GBP": 0.8672}
    early = sync("days.latest_rates")(client=client, as_of=dt.datetime(2026, 3, 9, tzinfo=dt.timezone.utc))
    assert (early.date, early.as_of.year) == (dt.date(2026, 3, 6), 2026)
    series = sync("ranges.rates_since")(dt.date(2026, 3, 8), client=client, base="USD", symbols=["EUR"])
    assert series.rates["2026-03-09"]["EUR"] == 0.8583690987
    missing = sync("ranges.timeseries")(
        client=client,
        start_date=dt.date(1999, 1, 4),
        end_date=dt.date(2000, 1, 3),
        symbols=["USD", "JPY"],
    ).missing
    assert missing["JPY"].first_date == dt.date(2000, 1, 3)
    conversion = sync("conversion.convert")(client=client, from_="GBP", to="JPY", amount=25)
    assert (conversion.query.from_, conversion.result) == ("GBP", 5309.8684975)
    change = sync("ranges.fluctuation")(
        client=client, start_date=dt.date(2026, 3, 6), end_date=dt.date(2026, 3, 9), symbols=["USD"]
    ).rates["USD"]
    assert (change.start_rate, change.end_rate, change.change) == (1.1618, 1.165, 0.0032)
    assert sync("currencies.symbols")(client=client).symbols["GBP"] == "British Pound Sterling"
    rows = sync("spreadsheets.latest_rates_csv")(client=client, symbols=["USD"], wide=1)
    assert rows == "date,USD\r\n2026-03-09,1.165\r\n"
    assert sync("health.health")(client=client).days == 7
    # A currency that is not stored yet can be requested.
    error = sync("days.latest_rates")(client=client, base="CHF")
    assert isinstance(error, models.Error)
    assert (error.status, error.error.type_, error.message) == (400, "invalid_base_currency", UNKNOWN)


def test_typescript(server: Server, tmp_path: Path) -> None:
    program = node()
    modules = CLIENTS / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    [command] = [snippet for snippet in snippets("sh", PAGE) if "openapi-typescript" in snippet]
    _, _, *arguments = command.replace(ADDRESS, server.url).split()
    said = run([program, modules / "openapi-typescript" / "bin" / "cli.js", *arguments], tmp_path)
    assert re.fullmatch(r"✨ openapi-typescript [0-9.]+\n🚀 .* → schema.ts .*\n", said), said

    [example] = snippets("ts", PAGE)
    (tmp_path / "example.ts").write_text(example.replace(ADDRESS, server.url))
    shutil.copy(CLIENTS / "generated.ts", tmp_path)
    shutil.copy(CLIENTS / "tsconfig.json", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run([program, modules / "typescript" / "bin" / "tsc"], tmp_path)
    assert json.loads(run([program, "generated.js", server.url], tmp_path)) == {
        "rates": {"USD": 1.1618, "GBP": 0.8672},
        "days": ["2026-03-08", "2026-03-09"],
        "conversion": [25, 5309.8684975],
        "missing": "2000-01-03",
        "error": [400, "invalid_base_currency", UNKNOWN],
        "rows": "date,USD\r\n2026-03-09,1.165\r\n",
    }
    assert run([program, "example.js"], tmp_path) == "{ EUR: 0.8583690987, GBP: 0.7441201717 }\n"
