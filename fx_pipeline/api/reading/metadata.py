"""Reads ``metadata.yaml`` for Datasette, with the shared parts of SQL filled into the canned queries."""

from pathlib import Path
from typing import Any

from datasette.utils import parse_metadata

from fx_pipeline.api.reading.queries import DATABASE


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata, with `{name}` in SQL replaced by the part `name` of ``sql_parts``."""
    metadata: dict[str, Any] = parse_metadata(path.read_text(encoding="utf-8"))
    parts = metadata.pop("sql_parts")
    for query in metadata["databases"][DATABASE]["queries"].values():
        query["sql"] = query["sql"].format_map(parts)
    return metadata
