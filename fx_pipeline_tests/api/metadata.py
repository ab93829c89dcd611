"""The canned queries, as datasette_config/metadata.yaml defines them."""

from typing import Any

from fx_pipeline.api.reading.metadata import read_metadata
from fx_pipeline.settings import PROJECT

DATABASE: dict[str, Any] = read_metadata(PROJECT / "datasette_config" / "metadata.yaml")["databases"]["fx"]
QUERIES: dict[str, dict[str, Any]] = DATABASE["queries"]
