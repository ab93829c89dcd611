"""Versions, the changelog, and the scripts and workflows of CI that use them."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.command_line import run_command

PROJECT_FILE = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
[VERSION] = re.findall(r'^version = "(.*)"$', PROJECT_FILE, re.MULTILINE)
SECTIONS = re.findall(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
CHANGELOG = """\
# Changelog

## 1.2.0 (2030-01-02)

### Added

- A thing.

## 1.1.0

- An older thing.
"""
GH = """\
#!/bin/sh
echo "$GH_REPO" "$@" >> "$CALLS"
[ "$2" != list ] || echo "$FOUND"
"""
"""In place of GitHub's command: it records its calls, and finds the issue $FOUND."""


def load(path: str) -> Any:
    """Return the parsed YAML file at `path` in the project."""
    return yaml.safe_load((PROJECT / path).read_text(encoding="utf-8"))


def run_script(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script at the path `name` until it ends."""
    kept = {key: value for key, value in os.environ.items() if key not in ("GH_TOKEN", "CI_WEBHOOK_URL")}
    return subprocess.run(
        [name, *arguments], env={**kept, **variables}, capture_output=True, text=True, check=False
    )


def test_the_changelog_begins_with_this_version_or_what_comes_after_it() -> None:
    assert len(SECTIONS) == len(set(SECTIONS))
    assert "Unreleased" not in SECTIONS[1:]
    assert [name for name in SECTIONS if name != "Unreleased"][:1] in ([VERSION], [])


def test_the_command_shows_the_version(tmp_path: Path) -> None:
    assert version("fx-pipeline") == VERSION, "run `make install`"
    assert VERSION in run_command(tmp_path, "--version").stdout.split()


@pytest.fixture
def release_notes(tmp_path: Path) -> str:
    """Return the path of a copy of `.ci/release-notes` in a project with version 1.2.0."""
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(PROJECT / ".ci" / "release-notes", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return str(script)


def test_prints_the_section_of_the_version(release_notes: str) -> None:
    done = run_script(release_notes, "v1.2.0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "### Added\n\n- A thing.\n", "")


@pytest.mark.parametrize(
    ("tag", "changelog", "says"),
    [
        (
            "v1.3.0",
            CHANGELOG,
            "The tag is v1.3.0, but pyproject.toml has the version 1.2.0: change one of them.",
        ),
        (
            "1.2.0",
            CHANGELOG,
            "The tag is 1.2.0, but pyproject.toml has the version 1.2.0: change one of them.",
        ),
        (
            "v1.2.0",
            CHANGELOG.replace("1.2.0 (2030-01-02)", "Unreleased"),
            'The first section of CHANGELOG.md is "Unreleased": it must be "1.2.0".',
        ),
        ("v1.2.0", "# Changelog\n", 'The first section of CHANGELOG.md is "": it must be "1.2.0".'),
        ("v1.2.0", "## 1.2.0\n\n## 1.1.0\n\n- Older.\n", "CHANGELOG.md says nothing about 1.2.0."),
    ],
)
def test_a_release_fails_if_the_versions_differ(
    tmp_path: Path, release_notes: str, tag: str, changelog: str, says: str
) -> None:
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    done = run_script(release_notes, tag)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{says}\n")


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[Any]]]:
    """Yield the address of a server, and the JSON documents that were posted to it."""
    posted: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
        server.shutdown()


REPORT = str(PROJECT / ".ci" / "report-failure")


def test_posts_a_failure_to_the_webhook(webhook: tuple[str, list[Any]]) -> None:
    url, posted = webhook
    done = run_script(REPORT, 'CI fails on "main"', "https://ci.example/1", CI_WEBHOOK_URL=url)
    assert done.returncode == 0, done.stderr
    assert posted == [{"text": 'CI fails on "main": https://ci.example/1'}]
    assert url not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("found", "last"),
    [
        ("", "issue create --title CI fails on main --body https://ci.example/1 (commit abc)"),
        ("7", "issue comment 7 --body https://ci.example/1 (commit abc)"),
    ],
)
def test_opens_an_issue_about_a_failure_or_comments_on_the_open_one(
    tmp_path: Path, found: str, last: str
) -> None:
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    done = run_script(
        REPORT,
        "CI fails on main",
        "https://ci.example/1",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        CALLS=str(tmp_path / "calls"),
        FOUND=found,
        GH_TOKEN="a-token",
        GITHUB_REPOSITORY="an/owner",
        GITHUB_SHA="abc",
    )
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith("an/owner issue list --state open ")
    assert second == f"an/owner {last}"


def test_says_that_a_failure_was_not_reported() -> None:
    done = run_script(REPORT, "CI fails on main", "https://ci.example/1")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Not reported: neither CI_WEBHOOK_URL nor GH_TOKEN is set.\n"


def test_ci_run_refuses_an_unknown_mode() -> None:
    done = run_script(str(PROJECT / ".ci" / "run"), "slow")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Unknown mode slow: use ")


def test_both_providers_test_everything_once_and_the_rest_on_the_other_pythons() -> None:
    [(oldest, newest)] = re.findall(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"$', PROJECT_FILE, re.MULTILINE)
    supported = {f"3.{minor}" for minor in range(int(oldest), int(newest))}

    jobs = load(".github/workflows/ci.yml")["jobs"]
    *_, step = jobs["all"]["steps"]
    on_github = {"all": [step["with"]["python"]], "fast": jobs["fast"]["strategy"]["matrix"]["python"]}

    first, second = (job["test"] for job in load(".circleci/config.yml")["workflows"]["ci"]["jobs"])
    assert (first["mode"], second["mode"]) == ("all", "fast")
    assert on_github == {"all": [first["python"]], "fast": second["matrix"]["parameters"]["python"]}
    assert sorted([*on_github["all"], *on_github["fast"]]) == sorted(supported)


def test_a_release_builds_the_targets_of_the_dockerfile_with_arguments_that_it_has() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    job = load(".github/workflows/release.yml")["jobs"]["image"]
    [build] = [step["with"] for step in job["steps"] if "build-push-action" in step.get("uses", "")]
    targets = {image["target"] for image in job["strategy"]["matrix"]["include"]}
    assert targets <= set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    arguments = set(re.findall(r"^([A-Z]+)=", build["build-args"], re.MULTILINE))
    assert arguments == {"VERSION", "REVISION"} <= set(re.findall(r"^ARG ([A-Z]+)", dockerfile, re.MULTILINE))
    assert (build["sbom"], build["provenance"], build["platforms"]) == (
        True,
        "mode=max",
        "linux/amd64,linux/arm64",
    )
