"""The read side: HTTP responses from canned queries, without Dagster, the store or the Fixer client."""

import sys
from types import ModuleType
from typing import Any

modules: dict[str, Any] = sys.modules
_PINT = "datasette.vendored.pint"
if _PINT not in modules:
    # Datasette imports its copy of pint for the `units` of metadata, which metadata.yaml does not use. That takes
    # half of the time and a third of the memory of importing Datasette. An empty registry takes its place.
    modules[_PINT] = ModuleType(_PINT)
    modules[_PINT].UnitRegistry = type("UnitRegistry", (), {})
