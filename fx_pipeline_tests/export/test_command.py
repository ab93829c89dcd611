"""`fx-pipeline export`: what it prints, and which folders it refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fx_pipeline.commands.cli import main
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.export.exporting import tree


def run(history_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setenv("FX_DATABASE", str(history_path))
    return CliRunner().invoke(main, ["export", "--static", str(folder)])


def test_the_command_reports_what_it_wrote(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (run(history.path, tmp_path / "site", monkeypatch) for _ in range(2))
    assert (first.exit_code, first.stdout) == (0, f"7 days: {len(tree(tmp_path / 'site'))} files written.\n")
    assert (second.exit_code, second.stdout) == (0, "7 days: 0 files written.\n")
    assert first.stderr == f"Database {history.path}, export {tmp_path / 'site'}.\n"


def test_the_command_leaves_other_folders_alone(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("a letter")
    result = run(history.path, tmp_path / "home", monkeypatch)
    why = f"{tmp_path / 'home'} is not empty, and not an export of fx-pipeline. Choose a new folder."
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, f"Error: {why}")
    assert tree(tmp_path / "home") == {"letter.txt": b"a letter"}


def test_the_command_needs_a_stored_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RateStore(tmp_path / "empty.db").close()
    result = run(tmp_path / "empty.db", tmp_path / "site", monkeypatch)
    why = f"{tmp_path / 'empty.db'} holds no day. Run `fx-pipeline ingest` first."
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, f"Error: {why}")
