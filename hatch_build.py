"""Adds to the wheel what the package reads outside its folder, and the commit that it is built from."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = (
    "datasette_config",
    "workspace.yaml",
    "dagster.yaml",
    ".env.example",
    "deploy/systemd",
    "deploy/nginx",
    "docs/operations/runbook.md",
)
"""They go into ``fx_pipeline/files/`` of the wheel, where `fx_pipeline.settings.PROJECT` finds them."""


class BuildHook(BuildHookInterface[Any]):
    """Runs for the wheel and the sdist. An editable install reads the files of the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files, and a file COMMIT that `fx-pipeline --version` reads."""
        if version != "standard":
            return
        included: dict[str, str] = build_data["force_include"]
        folder = ""
        if self.target_name == "wheel":
            folder = "fx_pipeline/files/"
            included.update({str(Path(self.root, name)): f"{folder}{name}" for name in FILES})
        commit = self._commit()
        if commit:
            self._folder = tempfile.TemporaryDirectory()  # lasts until the build has ended
            file = Path(self._folder.name, "COMMIT")
            file.write_text(f"{commit}\n", encoding="utf-8")
            included[str(file)] = f"{folder}COMMIT"

    def _commit(self) -> str:
        """Return the commit of the checkout, or the one recorded in an unpacked sdist; empty if unknown."""
        root = Path(self.root)
        try:
            if not (root / ".git").exists():
                return (root / "COMMIT").read_text(encoding="utf-8").strip()
            command = [
                "git",
                "-C",
                self.root,
                "describe",
                "--always",
                "--dirty",
                "--abbrev=12",
                "--exclude=*",
            ]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        except OSError:
            return ""
