"""`fx-pipeline init` in a folder."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from fx_pipeline.settings import PROJECT, Settings
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.disks import NO_MOUNT, fill, remount, small_disk


def test_writes_all_settings_commented_out_for_the_owner_only(tmp_path: Path) -> None:
    done = run_command(tmp_path, "init")
    written = tmp_path / ".env"
    assert (done.returncode, done.stderr) == (0, "")
    assert str(written) in done.stdout
    assert written.stat().st_mode & 0o777 == 0o600
    assert written.read_text() == (PROJECT / ".env.example").read_text()
    assert dotenv_values(written) == {}


def test_each_line_works_without_its_comment_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command(tmp_path, "init")
    written = tmp_path / ".env"
    lines = written.read_text().splitlines()
    settings = [
        line.removeprefix("# ") for line in lines if line.partition("=")[0].removeprefix("# ").isupper()
    ]
    written.write_text("\n".join(settings))
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    assert set(dotenv_values(written)) >= {"FIXER_ACCESS_KEY", "FX_DATABASE"}
    assert Settings().model_dump() == Settings(_env_file=None).model_dump()


@pytest.mark.parametrize("content", ["FIXER_ACCESS_KEY=mine\n", ""])
def test_an_existing_file_is_kept(content: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(content)
    done = run_command(tmp_path, "init")
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: {tmp_path / '.env'} exists already and was not changed. To start again, rename it first.\n"
    )
    assert (tmp_path / ".env").read_text() == content


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    assert run_command(tmp_path, "init").returncode == 1
    assert not (tmp_path / "elsewhere").exists()


def test_an_unwritable_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path, "1m") as mounted:
        if not mounted:
            pytest.skip(NO_MOUNT)
        remount(tmp_path, "ro")
        done = run_command(tmp_path, "init")
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: {tmp_path / '.env'} cannot be written (Read-only file system): "
        "run this in a folder that you may write to.\n"
    )


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    with small_disk(tmp_path, "1m") as mounted:
        if not mounted:
            pytest.skip(NO_MOUNT)
        fill(tmp_path)
        done = run_command(tmp_path, "init")
        assert not (tmp_path / ".env").exists()
    assert done.returncode == 1
    assert "cannot be written (No space left on device)" in done.stderr
