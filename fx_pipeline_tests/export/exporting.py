"""A small history, and its export into a folder."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from fx_pipeline.export.folder import STATE, Folder
from fx_pipeline.export.static import Exported, export
from fx_pipeline.settings import Settings
from fx_pipeline_tests.api.history import History

NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.timezone.utc)

DAYS: Mapping[str, Mapping[str, float]] = {
    "2023-12-30": {"EUR": 1, "USD": 1.1, "GBP": 0.86},
    "2023-12-31": {"EUR": 1, "USD": 1.105, "GBP": 0.87},
    "2024-01-01": {"EUR": 1, "USD": 1.1, "GBP": 0.87},
    # A currency that begins and one that has a gap: their histories name their first and last day.
    "2024-06-01": {"EUR": 1, "USD": 1.08, "JPY": 170.25},
    "2024-06-03": {"EUR": 1, "USD": 1.09, "GBP": 0.85, "JPY": 171},
    "2026-03-08": {"EUR": 1, "USD": 1.162, "GBP": 0.867, "JPY": 183.25},
    "2026-03-09": {"EUR": 1, "USD": 1.165, "GBP": 0.8669, "JPY": 184.125},
}


def exported(history: History, folder: Path) -> Exported:
    return export(Settings(fx_database=history.path), Folder(folder), NOW)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files and their content, without the state."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != STATE)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
