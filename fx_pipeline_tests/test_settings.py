"""What is written into a setting, and what every command makes of it."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from fx_pipeline.commands.cli import main
from fx_pipeline.settings import Settings, SettingsError, load_settings
from fx_pipeline_tests.api.server import serving
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.sandbox_server import running_sandbox

PATHS = ["FX_DATABASE", "DAGSTER_HOME"]

VALUES: Mapping[str, str] = {
    "FIXER_ACCESS_KEY": "0123456789abcdef",
    "FIXER_BASE_URL": "https://api.apilayer.com/fixer",
    "FIXER_AUTH": "header",
    "FIXER_MONTHLY_QUOTA": "100",
    "FIXER_TIMESERIES": "1",
    "FX_BASE": "USD",
    "FX_SYMBOLS": "USD,GBP",
    "FX_START_DATE": "2001-02-03",
    "FX_DATABASE": "elsewhere/fx.db",
    "FX_REVISION_ALERT": "0.5",
    "FX_REQUIRE_TOKEN": "1",
    "FX_ALERT_URLS": "json://one.example json://two.example",
    "FX_API_PORT": "9001",
    "FX_API_URL": "https://rates.example",
    "FX_ASSET_PREFIX": "finance/fixer",
    "FX_CODE_SERVER": "code.example:4000",
    "DATASETTE_SECRET": "s3cret",
    "SENTRY_DSN": "https://key@sentry.example/1",
    "DAGSTER_HOME": "elsewhere/dagster",
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("form", ['"{}"', "'{}'", " {}\t", ' "{}" ', '" {} "', "{}\r"])
def test_quotes_and_blanks_around_a_value_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.setenv(name, VALUES[name])
    expected = load_settings()
    assert expected != Settings.model_construct()
    monkeypatch.setenv(name, form.format(VALUES[name]))
    assert load_settings() == expected


def test_a_file_that_is_not_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"FX_BASE=\xe9")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value) == f"{tmp_path}/.env cannot be read: it is not UTF-8."


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("value", ["", " ", '""', "''", '" "'])
def test_an_empty_value_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    expected = load_settings()
    monkeypatch.setenv(name, value)
    assert load_settings() == expected
    assert load_settings().model_fields_set == expected.model_fields_set


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("form", ['"{}', "{}'", "\"{}'", '"{}" "{}"'])
def test_a_stray_quotation_mark_is_refused_without_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.setenv(name, form.format(VALUES[name], VALUES[name]))
    with pytest.raises(SettingsError, match=f"^{name} cannot be used: ") as refused:
        load_settings()
    assert VALUES[name] not in str(refused.value)
    assert "quotation mark" in str(refused.value)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("~/rates/x", "{home}/rates/x"),
        ("'~/rates/x'", "{home}/rates/x"),
        ("rates/x", "{cwd}/rates/x"),
        ("./rates//x", "{cwd}/rates/x"),
        ("../x", "{cwd}/../x"),
        ("/srv/c# &1/é/x", "/srv/c# &1/é/x"),
        ("rates/~x", "{cwd}/rates/~x"),
        ("file:x", "{cwd}/file:x"),
        (":memory:", "{cwd}/:memory:"),
        ("x" * 5000, "{cwd}/" + "x" * 5000),
    ],
)
def test_a_path_is_absolute_and_home_is_expanded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(name, value)
    found = getattr(load_settings(), name.lower())
    assert str(found) == path.format(home=tmp_path / "home", cwd=tmp_path)


def test_the_paths_are_absolute_where_none_is_set(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.fx_database == tmp_path / "data" / "fx.db"
    assert settings.dagster_home == tmp_path / "data" / "dagster"
    assert settings.model_fields_set == set()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        *(
            (name, "a?b/fx.db", "Dagster cannot open a path with a ? or %, such as {cwd}/a?b")
            for name in PATHS
        ),
        *(
            (name, "50%41/fx.db", "Dagster cannot open a path with a ? or %, such as {cwd}/50%")
            for name in PATHS
        ),
        *((name, "$HOME/fx.db", "it begins with a variable, which is not expanded here") for name in PATHS),
        *(
            (name, "~no-such-user/fx.db", "it begins with ~, but there is no such home folder")
            for name in PATHS
        ),
        *((name, "data/\udcff.db", "the path contains a character that cannot be printed") for name in PATHS),
        *((name, "data/\n/fx.db", "the path contains a character that cannot be printed") for name in PATHS),
        ("FX_DATABASE", "folder", "{cwd}/folder is a folder: add a file name"),
        ("FX_DATABASE", ".", "{cwd} is a folder: add a file name"),
        ("FX_DATABASE", "data/", "data/ is a folder: add a file name"),
        ("FX_DATABASE", "data/tokens.db", "tokens.db is reserved for the API tokens"),
        ("DAGSTER_HOME", "file", "{cwd}/file is a file: name a folder"),
    ],
)
def test_a_path_that_some_part_cannot_use_is_refused_by_every_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, says: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, value)
    refusals = set()
    for command in (
        "up",
        "ingest",
        "serve",
        "status",
        "rebuild",
        "token list",
        "token create a",
        "token off",
    ):
        result = CliRunner().invoke(main, command.split())
        assert result.exit_code == 2, (command, result.output)
        refusals.add(result.output)
    [refusal] = refusals
    assert refusal.startswith(f"Error: {name} cannot be used: {says.format(cwd=tmp_path)}")
    assert refusal.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.slow
def test_a_path_with_unusual_characters_works_in_every_command(tmp_path: Path) -> None:
    folder = "c# {1} é'\"&=+;,:@[1]~$x"
    place = tmp_path / folder
    with running_sandbox() as sandbox:
        settings = {
            "FX_DATABASE": str(place / "fx.db"),
            "DAGSTER_HOME": str(place / "dagster"),
            "FIXER_BASE_URL": sandbox.url,
            "FIXER_ACCESS_KEY": "any",
        }
        for command in ("ingest --date 2024-03-01", "status", "rebuild", "token create a"):
            done = run_command(tmp_path, *command.split(), **settings)
            assert done.returncode == 0, done.stderr
    token = done.stdout.strip()
    with serving(place / "fx.db", tmp_path / "log", workers=2) as server:
        for path in ("/rates/2024-03-01?symbols=USD", "/", "/coverage/", "/fx/rates.json", "/fx"):
            assert server.get(path, {"apikey": token})[0] == 200
            assert server.get(path)[0] == 401
    found = {path.name for path in place.iterdir()}
    assert found >= {"fx.db", "tokens.db", "dagster"}
    assert {path.name for path in tmp_path.iterdir()} == {folder, "log"}


@pytest.mark.slow
def test_home_is_expanded_by_every_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = {"HOME": str(home), "FX_DATABASE": "~/rates/fx.db", "DAGSTER_HOME": "~/rates/dagster"}
    with running_sandbox() as sandbox:
        fixer = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": '"any"'}
        done = run_command(tmp_path, "ingest", "--date", "2024-03-01", **settings, **fixer)
    assert done.returncode == 0, done.stderr
    assert (home / "rates" / "fx.db").is_file()
    assert (home / "rates" / "dagster").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    ("written", "codes"), [("USD,gbp", ("USD", "GBP")), (" usd , ,CHF ", ("USD", "CHF")), ("", ())]
)
def test_symbols_are_codes_in_capitals_or_small_letters(
    monkeypatch: pytest.MonkeyPatch, written: str, codes: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FX_SYMBOLS", written)
    assert load_settings().fx_symbols == codes


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("USD,GBp", "'GBp' mixes upper and lower case: write 'GBP' if you mean that"),
        ("USD,EURO", "'EURO' is not a currency code of three letters"),
    ],
)
def test_another_symbol_is_refused(monkeypatch: pytest.MonkeyPatch, written: str, problem: str) -> None:
    monkeypatch.setenv("FX_SYMBOLS", written)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("value", "address"), [("code:4000", ("code", 4000)), ("[::1]:4000", ("[::1]", 4000))]
)
def test_a_code_server_is_a_host_and_a_port(
    monkeypatch: pytest.MonkeyPatch, value: str, address: tuple[str, int]
) -> None:
    monkeypatch.setenv("FX_CODE_SERVER", value)
    assert load_settings().code_server == address


@pytest.mark.parametrize(
    "value", ["code", "code:", ":4000", "code:0", "code:65536", "http://code:4000", "a@code:4000"]
)
def test_any_other_code_server_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FX_CODE_SERVER", value)
    with pytest.raises(SettingsError, match=r"^FX_CODE_SERVER cannot be used: it is not a "):
        load_settings()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "FIXER_BASE_URL",
            (
                *("data.fixer.io/api", "ftp://secret.example", "https://", "https:secret.example"),
                *("https://secret.example:port/api", "https://[secret/api", "https://secret@data.fixer.io"),
                *("https://me:\u2100secret@data.fixer.io", "https:\\\\me:secret@data.fixer.io"),
                *("https://data.fixer.io/api?access_key=secret", "https://data.fixer.io/api#secret"),
            ),
        ),
        ("FIXER_ACCESS_KEY", ("sec ret", "secret\ta", "secr\u00e9t", "secret\r\nX-Evil: 1", "secret\x7f")),
        (
            "SENTRY_DSN",
            (
                *("x", "https://secret.example/1", "https://secret@/1", "https://key@secret.example/x"),
                *("ftp://secret@h/1", "https://secret@h:x/1", "https://\u2100secret@h/1"),
            ),
        ),
    ],
)
def test_an_address_or_key_that_cannot_work_is_refused_without_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, values: tuple[str, ...]
) -> None:
    for value in values:
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError, match=f"^{name} cannot be used: .+[.]$") as refused:
            load_settings()
        assert not re.search("secr|\n", str(refused.value)), value
