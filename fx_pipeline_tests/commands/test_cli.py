"""The output and exit codes of the command: 0 success, 1 a failure, 2 wrong usage or settings."""

import datetime as dt
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fx_pipeline.commands.cli import main
from fx_pipeline.fetch import Fetch
from fx_pipeline.store.database import open_database
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

TODAY = dt.datetime.now(dt.timezone.utc).date()


def invoke(*arguments: str) -> Result:
    """Run the command in this process, if it ends before a run starts."""
    return CliRunner().invoke(main, arguments)


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("path", [(), *commands(main)], ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help(path: tuple[str, ...], option: str) -> None:
    result = invoke(*path, option)
    assert result.exit_code == 0
    assert result.output.startswith(" ".join(["Usage: main", *path]))
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    unexplained = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert unexplained == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--date", "2024-02-30"], "2024-02-30 does not exist: February 2024 has 29 days."),
        (["--date", "20240230"], "'20240230' is not a date of the form YYYY-MM-DD."),
        (["--date", "٢٠٢٤-٠١-٠١"], "is not a date of the form YYYY-MM-DD."),
        (["--date", str(TODAY + dt.timedelta(1))], "is not over yet. The newest day that can be fetched is"),
        (["--from", "2024-01-05", "--to", "2024-01-01"], "--from 2024-01-05 is after --to 2024-01-01."),
        (["--to", "2024-01-01"], "--to needs --from."),
        (["--revise"], "--revise needs --missing"),
        (["--days", "3", "--date", "2024-01-01"], "Use only one of --days, --date and --from."),
        (["--days", "3", "--from", "2024-01-01"], "Use only one of --days, --date and --from."),
        (["--days", "0"], "0 is not in the range x>=1."),
        (["--date", "1998-12-31"], "1998-12-31 is before FX_START_DATE, 1999-01-01."),
        (["--from", "1998-12-31"], "1998-12-31 is before FX_START_DATE, 1999-01-01."),
        (["--yesterday"], "No such option"),
    ],
)
def test_unfetchable_days_are_refused(arguments: list[str], says: str) -> None:
    result = invoke("ingest", *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert not Path("data").exists()


@pytest.mark.parametrize(
    "command",
    [
        "serve",
        "rebuild",
        "check",
        "status",
        "status --json",
        "token list",
        "token list --json",
        "token create a",
        "token revoke a",
        "token off",
    ],
)
def test_without_a_database_a_command_names_its_path_and_creates_nothing(
    command: str, tmp_path: Path
) -> None:
    result = invoke(*command.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: There is no database at {tmp_path}/data/fx.db. Run this in the folder where "
        "`fx-pipeline up` or `ingest` created it, or set FX_DATABASE to its path.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_rebuild_names_days_with_a_mislabelled_base(tmp_path: Path) -> None:
    date = dt.date(2024, 3, 6)
    body = {
        "success": True,
        "timestamp": 1709769599,
        "base": "USD",
        "date": "2024-03-06",
        "rates": {"EUR": 1, "USD": 1.1},
    }
    with RateStore(tmp_path / "data" / "fx.db") as store:
        store.record(
            [
                Fetch(
                    endpoint="historical",
                    base="USD",
                    symbols=(),
                    start_date=date,
                    end_date=date,
                    asked_at=dt.datetime(2024, 3, 7, tzinfo=dt.timezone.utc),
                    status="ok",
                    body=json.dumps(body).encode(),
                )
            ]
        )
    result = invoke("rebuild")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "The rates were rebuilt from 0 responses.",
            "Skipped: 2024-03-06 to 2024-03-06: the response's rates are not in USD, the base it names. "
            "Fetch these days again.",
        ],
    )


@pytest.mark.parametrize("command", ["up", "ingest", "serve", "status", "sandbox"])
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FX_API_PORT", "80000", "FX_API_PORT cannot be used: "),
        ("FX_BASE", "euro", "FX_BASE cannot be used: "),
        ("FX_START_DATE", "2999-01-01", "FX_START_DATE cannot be used: must be between 1999-01-01"),
        ("FX_SYMBOLS", "USD,EURO", "FX_SYMBOLS cannot be used: 'EURO' is not a currency code"),
        ("FIXER_BASE_URL", "data.fixer.io", "FIXER_BASE_URL cannot be used: "),
        ("FIXER_TIMESERIES", "perhaps", "FIXER_TIMESERIES cannot be used: "),
        ("FIXER_ACCESS_KEY", "secret key", "FIXER_ACCESS_KEY cannot be used: it contains white space"),
        *(
            (name, "https://me:secret@one.example", f"{name} cannot be used: it must have no user")
            for name in ("FIXER_BASE_URL", "FX_API_URL", "FX_DAGSTER_URL")
        ),
        ("SENTRY_DSN", "secret", "SENTRY_DSN cannot be used: it must have the form https://KEY@HOST/PROJECT"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, command: str, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    result = invoke(command)
    assert result.exit_code == 2
    [line] = result.output.splitlines()
    assert line.startswith(f"Error: {says}")
    assert "secret" not in line


def test_the_environment_overrides_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("FX_BASE=wrong\n", encoding="utf-8")
    assert "FX_BASE cannot be used" in invoke("ingest").output
    monkeypatch.setenv("FX_BASE", "also wrong")
    monkeypatch.setenv("FX_REVISION_DAYS", "-1")
    Path(".env").write_text("FX_BASE=USD\nFX_REVISION_DAYS=1\n", encoding="utf-8")
    assert "FX_BASE cannot be used" in invoke("ingest").output


def test_without_a_key_fixer_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_BASE_URL", "https://data.fixer.io/api")
    result = invoke("ingest", "--date", "2024-01-01")
    assert result.exit_code == 2
    assert result.output == (
        "Error: FIXER_ACCESS_KEY is not set: set it to the key of your Fixer account in .env.\n"
    )


@pytest.mark.parametrize("command", ["ingest", "serve", "status", "rebuild", "token list", "token create a"])
def test_a_file_that_is_not_a_database_is_named(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("notes.txt").write_text("these are notes, and long enough to be read as a header", encoding="utf-8")
    monkeypatch.setenv("FX_DATABASE", "notes.txt")
    result = invoke(*command.split())
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        f"Error: {tmp_path}/notes.txt: this is not a SQLite database. Set FX_DATABASE to another file."
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fault", "rain=0.1"], "rain"),
        (["--fault", "cut"], "cut"),
        (["--fault", "cut=2"], "2"),
        (["--plan", "gold"], "'gold' is not one of 'free', 'basic', 'professional', 'plus'"),
        (["--out-of-range-code", "404"], "'404' is not one of '302', '106'"),
        (["--currencies", "5000"], "5000 is not in the range"),
        (["--host="], "Invalid value for '--host': it is empty. Name an address, such as 127.0.0.1."),
        (
            ["--host", "192.0.2.1", "--port", "8002"],
            "Error: The sandbox cannot listen on 192.0.2.1:8002: Cannot assign requested address. Set "
            "--host to an address of this machine.\n",
        ),
        (["--host", "nowhere.invalid"], ". Set --host to an address of this machine.\n"),
    ],
)
def test_invalid_sandbox_options_are_refused(arguments: list[str], says: str) -> None:
    result = invoke("sandbox", *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("sandbox", "Error: The sandbox cannot listen on 127.0.0.1:{}: Address already in use"),
        ("serve", "Error: The API cannot listen on 127.0.0.1:{}: Address already in use"),
    ],
)
def test_a_busy_port_is_reported_with_its_setting(command: str, says: str, tmp_path: Path) -> None:
    open_database(tmp_path / "data" / "fx.db").close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = invoke(command, "--port", str(port))
    assert result.exit_code == 2
    assert says.format(port) in result.output
    assert (
        f"Set --port or FX_{'SANDBOX' if command == 'sandbox' else 'API'}_PORT to a free port."
        in result.output
    )


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(key="good") as sandbox:
        yield sandbox


def test_a_refusal_by_the_provider_exits_with_1_and_says_what_to_do(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run_command(tmp_path, "ingest", FIXER_BASE_URL=sandbox.url, FIXER_ACCESS_KEY="another")
    assert done.returncode == 1
    assert done.stdout == "0 days stored.\n"
    assert "the access key is missing or unknown (101 invalid_access_key)" in done.stderr
    assert "Set FIXER_ACCESS_KEY to the key shown in your Fixer account" in done.stderr
    assert "another" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert sandbox.stats()["total"] <= 4


@pytest.mark.slow
def test_ingest_and_status_report_what_was_fetched(sandbox: Sandbox, tmp_path: Path) -> None:
    settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "good"}
    dates = ["--date", "2024-03-01", "--date", "2024-03-03", "--date", "2024-03-02", "--date", "2024-03-08"]
    done = run_command(tmp_path, "ingest", *dates, **settings)
    assert (done.returncode, done.stdout) == (
        0,
        "2024-03-01 to 2024-03-03  31 inserted, 0 updated, 0 unchanged, 0 rejected each day\n"
        "2024-03-08  31 inserted, 0 updated, 0 unchanged, 0 rejected\n"
        "4 days stored.\n",
    )

    asked = sandbox.stats()["total"]
    done = run_command(tmp_path, "ingest", *dates, "--missing", "--json", **settings)
    assert done.returncode == 0
    assert json.loads(done.stdout)["stored"] == {}
    assert sandbox.stats()["total"] == asked

    done = run_command(tmp_path, "status", "--json", **settings)
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["last_run"]["status"] == "success"
    expected = {
        "database": f"{tmp_path}/data/fx.db",
        "provider": sandbox.url,
        "days": 4,
        "first": "2024-03-01",
        "newest": "2024-03-08",
        "age_in_days": (TODAY - dt.date(2024, 3, 8)).days,
        "gaps": [],  # no command asked for the days between
        "failed_days": [],
        "refetch": None,
        "rates": 124,
        "revisions": 0,
        "rejected": 0,
    }
    assert {name: document[name] for name in expected} == expected

    done = run_command(tmp_path, "status", **settings)
    assert "gaps            none\n" in done.stdout


@pytest.mark.slow
def test_every_command_names_its_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """With absolute paths, and never in the JSON on standard output."""
    settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "good", "FX_DATABASE": "here/fx.db"}
    database, tokens = f"Database {tmp_path}/here/fx.db", f"tokens {tmp_path}/here/tokens.db."
    for command, named in (
        ("ingest --date 2024-03-01 --json", f"{database}, Dagster's home {tmp_path}/data/dagster."),
        ("rebuild", f"{database}."),
        ("token create a", f"{database}, {tokens}"),
        ("token list --json", f"{database}, {tokens}"),
        ("token revoke a", f"{database}, {tokens}"),
        ("token off", f"{database}, {tokens}"),
    ):
        done = run_command(tmp_path, *command.split(), **settings)
        assert (done.returncode, done.stderr.splitlines()[0]) == (0, named)
        if "--json" in command:
            json.loads(done.stdout)
    done = run_command(tmp_path, "status", "--json", **settings)
    document = json.loads(done.stdout)
    assert [document[name] for name in ("database", "tokens", "dagster_home")] == [
        f"{tmp_path}/here/fx.db",
        f"{tmp_path}/here/tokens.db",
        f"{tmp_path}/data/dagster",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"here", "data"}
