"""The read side: HTTP responses from canned queries, without Dagster, the store or the Fixer client."""

import sys
from types import ModuleType
from typing import Any

modules: dict[str, Any] = sys.modules
_PINT = "datasette.vendored.pint"
if _PINT not in modules:
    # Datasette imports its copy of pint for `units` in metadata, which metadata.yaml does not use. That takes
    # a third of the time and a quarter of the memory of importing the API. An empty registry replaces it.
    modules[_PINT] = ModuleType(_PINT)
    modules[_PINT].UnitRegistry = object
