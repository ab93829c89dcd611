"""Reads ``metadata.yaml`` for Datasette, with the shared parts of SQL filled into the canned queries."""

from pathlib import Path
from typing import Any

import yaml

from fx_pipeline.api.reading.queries import DATABASE


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata, with `{name}` in SQL replaced by the part `name` of ``sql_parts``."""
    # The parser in C, if PyYAML has it, takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    metadata: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506  # both are safe
    parts = metadata.pop("sql_parts")
    for query in metadata["databases"][DATABASE]["queries"].values():
        query["sql"] = query["sql"].format_map(parts)
    return metadata
