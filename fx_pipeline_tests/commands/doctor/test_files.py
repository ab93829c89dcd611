"""`doctor` with broken settings, disks, permissions and tokens."""

import json
import os
import sys
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.commands.access import Access
from fx_pipeline.commands.doctor import files
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.commands.doctor.conftest import Doctor, run_doctor
from fx_pipeline_tests.disks import NO_MOUNT, remount, small_disk
from fx_pipeline_tests.proofs.test_refusals import barely

CORRECT = "Correct it in .env or in the environment."
RESTORE = "Stop everything and restore the database: `fx-pipeline restore --force`."


def test_an_empty_folder_has_warnings_and_stays_empty(tmp_path: Path, ports: list[int]) -> None:
    result = run_doctor()
    data = tmp_path / "data"
    used = f"Database {data}/fx.db, tokens {data}/tokens.db, Dagster's home {data}/dagster.\n"
    assert (result.exit_code, result.stderr) == (0, used)
    lines = result.stdout.splitlines()
    sqlite = lines.pop(1)
    assert sqlite.startswith("ok       sqlite: version 3.") or sqlite.startswith("warning  sqlite: SQLite 3.")
    assert [line for line in lines if " MB are free" not in line and "Use a Python whose" not in line] == [
        "ok       settings: 3 settings in the environment",
        "ok       provider: the sandbox, because neither FIXER_ACCESS_KEY nor FIXER_BASE_URL is set",
        "ok       key: none is needed: the sandbox replaces Fixer",
        "warning  clock: not checked: there is no database yet",
        "         Start `fx-pipeline up` first.",
        f"ok       permissions: {files.user(os.geteuid())} may write everything",
        f"warning  database: there is none at {tmp_path}/data/fx.db yet",
        "         Start `fx-pipeline up` or `ingest`, or set FX_DATABASE to the path of the one that exists.",
        "warning  rates: not checked: there is no database yet",
        "         Start `fx-pipeline up` first.",
        "ok       quota: FIXER_MONTHLY_QUOTA is not set",
        "ok       tokens: none are required",
        "ok       public address: none (FX_API_URL and FX_DAGSTER_URL)",
        f"ok       ports: free: {ports[0]} (FX_API_PORT), {ports[1]} (FX_DAGSTER_PORT), {ports[2]} "
        "(FX_SANDBOX_PORT)",
        f"warning  dagster: {tmp_path}/data/dagster has no instance yet",
        "         Start `fx-pipeline up`, or set DAGSTER_HOME to the home that it uses.",
        *(
            line
            for check in ("daemon", "schedules", "last run")
            for line in (
                f"warning  {check}: not checked: there is no storage of Dagster to read",
                "         See the line `dagster`.",
            )
        ),
        "ok       code server: FX_CODE_SERVER is not set",
        "ok       replica: FX_REPLICA_URL is not set",
        "ok       restore drill: there was none",
        "ok       alerts: FX_ALERT_URLS is not set",
        "ok       watcher: it has never looked at this database, and FX_ALERT_URLS is not set",
        "ok       undelivered alerts: none",
        "ok       heartbeat: FX_HEARTBEAT_URL is not set",
    ]
    assert list(tmp_path.iterdir()) == []


def test_invalid_settings_are_faults_and_the_rest_is_not_checked(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    monkeypatch.setenv("FX_API_PORT", "0")
    monkeypatch.setenv("FX_HISTORY_DAYS", "3")
    found = doctor()
    assert found.pop("settings") == [
        ("fault", "FX_API_PORT cannot be used: Input should be greater than or equal to 1", CORRECT),
        (
            "fault",
            "FX_HISTORY_DAYS cannot be used: it is less than 14: alerts need the runs of the last days. 0 "
            "keeps all runs",
            CORRECT,
        ),
    ]
    del found["sqlite"]
    unchecked = [("warning", "not checked: the settings are invalid", "Correct the settings first.")]
    assert len(found) == 22
    assert all(lines == unchecked for lines in found.values())


@pytest.mark.parametrize(
    ("content", "mode", "line"),
    [
        (
            "FX_ALERT_URL=json://127.0.0.1\n",
            0o600,
            ("warning", "FX_ALERT_URL is not a setting, so it has no effect", "Set FX_ALERT_URLS instead."),
        ),
        (
            "FX_CACHE_MB 8\n",
            0o600,
            (
                "warning",
                "line 1 of {folder}/.env has no effect: it is not a name, = and a value",
                "Correct it, or remove it.",
            ),
        ),
        (
            "FX_API_PORT=81\n",
            0o600,
            (
                "warning",
                "FX_API_PORT in {folder}/.env has no effect: the environment has another value",
                "Remove one of the two.",
            ),
        ),
        (
            "DATASETTE_SECRET=abc\n",
            0o644,
            (
                "warning",
                "other users can read {folder}/.env, which has secrets",
                "Run `chmod 600 {folder}/.env`.",
            ),
        ),
        (
            "FX_BASE=\xe9",
            0o600,
            ("fault", "{folder}/.env cannot be read: it is not UTF-8", "Save it as plain text."),
        ),
        (
            "FX_CACHE_MB=8\nDATASETTE_SECRET=abc\n",
            0o600,
            ("ok", "2 settings in {folder}/.env, 3 settings in the environment", None),
        ),
    ],
)
def test_a_doubtful_env_file_is_shown(
    doctor: Doctor, tmp_path: Path, content: str, mode: int, line: tuple[str, str, str | None]
) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content.encode("latin-1"))
    file.chmod(mode)
    state, text, remedy = line
    expected = (state, text.format(folder=tmp_path), remedy and remedy.format(folder=tmp_path))
    assert doctor()["settings"] == [expected]


@pytest.mark.usefixtures("stored")
def test_tokens_that_let_no_client_in_are_a_fault(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, tmp_path: Path
) -> None:
    create = "Create one with `fx-pipeline token create NAME`"
    open_again = "or open the API with `fx-pipeline token off` and without FX_REQUIRE_TOKEN."
    monkeypatch.setenv("FX_REQUIRE_TOKEN", "1")
    text = "FX_REQUIRE_TOKEN is 1, but no token is valid, so every request is refused"
    assert doctor()["tokens"] == [("fault", text, f"{create}, {open_again}")]
    access = Access(load_settings())
    access.create("one")
    assert doctor()["tokens"] == [("ok", "required; 1 token valid", None)]
    monkeypatch.delenv("FX_REQUIRE_TOKEN")
    access.revoke("one")
    text = "tokens are on, but no token is valid, so every request is refused"
    assert doctor()["tokens"] == [("fault", text, f"{create}, {open_again}")]
    tokens = tmp_path / "data" / "tokens.db"
    tokens.write_bytes(b"not a database" * 100)
    assert doctor()["tokens"] == [
        ("fault", f"{tokens} cannot be read: file is not a database", RESTORE),
    ]
    tokens.unlink()
    [(state, text, _)] = doctor()["tokens"]
    assert (state, text) == (
        "fault",
        "Tokens are on, but tokens.db next to the database has none, so every request is refused",
    )


@pytest.mark.usefixtures("stored")
def test_a_public_address_without_a_token_or_a_password_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    monkeypatch.setenv("FX_API_URL", "https://fx.example.com")
    monkeypatch.setenv("FX_DAGSTER_URL", "https://dagster.example.com")
    assert [(state, text) for state, text, _ in doctor()["public address"]] == [
        (
            "warning",
            "FX_API_URL is https://fx.example.com, and no token is required: anyone who can reach it can "
            "read all rates",
        ),
        (
            "warning",
            "FX_DAGSTER_URL is https://dagster.example.com, and FX_DAGSTER_PASSWORD is not set: anyone who "
            "can reach it can start and delete runs",
        ),
    ]
    TokenFile(load_settings().tokens_database).create("one")
    monkeypatch.setenv("FX_DAGSTER_PASSWORD", "a password")
    assert doctor()["public address"] == [("ok", "https://fx.example.com, https://dagster.example.com", None)]


def test_a_nearly_full_disk_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "MIN_FREE_MB", 2**40)
    [(state, text, remedy)] = doctor()["disk"]
    assert state == "fault"
    assert text.startswith(f"the disk of {tmp_path} is nearly full: ")
    assert remedy == "Free some space, or move it to a larger disk with FX_DATABASE and DAGSTER_HOME."


def test_a_read_only_disk_is_a_fault(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with small_disk(tmp_path / "data", "1m") as mounted:
        if not mounted:
            pytest.skip(NO_MOUNT)
        remount(tmp_path / "data", "ro")
        assert doctor()["permissions"] == [
            (
                "fault",
                f"{tmp_path}/data is on a read-only disk",
                "Mount the disk for writing, or set FX_DATABASE and DAGSTER_HOME to other places.",
            )
        ]


@pytest.mark.usefixtures("stored")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_files_of_another_user_are_a_warning(doctor: Doctor, tmp_path: Path) -> None:
    os.chown(tmp_path / "data", 54321, -1)  # the parent may belong to anyone
    os.chown(tmp_path / "data" / "fx.db", 54321, -1)
    assert doctor()["permissions"] == [
        (
            "warning",
            f"{tmp_path}/data/fx.db belongs to the user 54321, but this runs as the user root",
            "Run every command as the same user: files that another one creates may be unwritable.",
        )
    ]


def test_a_file_in_place_of_a_folder_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FX_DATABASE", "file/fx.db")
    text = f"{tmp_path}/file/fx.db-shm cannot be used (Not a directory)"
    assert doctor()["database"] == [("fault", text, "Set FX_DATABASE and DAGSTER_HOME to other places.")]


@pytest.mark.usefixtures("stored")
def test_files_that_this_user_cannot_read_are_a_fault(tmp_path: Path) -> None:
    Access(load_settings()).create("one")
    tokens, folder = tmp_path / "data" / "tokens.db", tmp_path / "data"
    tokens.chmod(0)
    folder.chmod(0o555)
    try:
        result = barely(tmp_path, "doctor", "--json", settings={})
    finally:
        folder.chmod(0o755)
    found = {one["check"]: one for one in json.loads(result.stdout)}
    assert found["permissions"] == {
        "check": "permissions",
        "state": "fault",
        "text": f"{folder} cannot be written by {files.user(os.geteuid())} (and 1 more)",
        "remedy": "Give this user read and write permission, or run fx-pipeline as the owner.",
    }
    assert found["tokens"]["text"] == f"{tokens} cannot be read: unable to open database file"
    assert found["database"]["text"] == f"{folder}/fx.db: the file or its folder is not writable"


API_ONLY = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("dagster", "dagster_shared", "pandas", "sqlalchemy", "apprise"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from fx_pipeline.commands.cli import main
main()
"""
"""The command where only the packages of the API are installed, as in its image."""


@pytest.mark.usefixtures("stored")
def test_it_checks_what_it_can_where_only_the_api_is_installed(tmp_path: Path) -> None:
    home = tmp_path / "data" / "dagster"
    home.mkdir()
    (home / "dagster.yaml").touch()
    program = (sys.executable, "-c", API_ONLY)
    result = run_command(tmp_path, "doctor", "--json", program=program, FX_ALERT_URLS="json://127.0.0.1")
    found = {one["check"]: one["text"] for one in json.loads(result.stdout)}
    unchecked = {check for check, text in found.items() if text.startswith("not checked: only the API is")}
    assert unchecked == {"dagster", "daemon", "schedules", "last run", "alerts"}
    assert found["rates"].startswith("1 day, the newest is ")
