"""What is installed: the version with its commit, and whether all files are there."""

import subprocess
from importlib.metadata import version

from fx_pipeline.settings import PROJECT

REQUIRED = (
    "datasette_config/metadata.yaml",
    "datasette_config/plugins/rates_api.py",
    "datasette_config/settings.json",
    "datasette_config/static/pages.css",
    "datasette_config/templates/base.html",
    "dagster.yaml",
    "workspace.yaml",
    ".env.example",
)
"""Files without which nothing starts. Without `datasette_config/`, Datasette would run any client's SQL."""


class IncompleteError(Exception):
    """Files of the installation are missing. The message is one line that names one and says what to do."""


def check_files() -> None:
    """Raise IncompleteError if files of the installation are missing."""
    for name in REQUIRED:
        if not (PROJECT / name).is_file():
            raise IncompleteError(
                f"{PROJECT / name} is missing, so this installation is incomplete: install fx-pipeline again."
            )


def version_and_commit() -> str:
    """Return the version, and the commit if it is known: `0.2.0 (commit 13683f05a292)`."""
    commit = _commit()
    return version("fx-pipeline") + (f" (commit {commit})" if commit else "")


def _commit() -> str:
    """Return the commit that the wheel was built from, or that of the checkout; empty if unknown."""
    try:
        if not (PROJECT / ".git").exists():
            return (PROJECT / "COMMIT").read_text(encoding="utf-8").strip()
        command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
