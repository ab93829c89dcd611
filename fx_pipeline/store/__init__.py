"""The database file: schema, writing, reading for checks, and the ledger of calls."""

import sys
from typing import Any

modules: dict[str, Any] = sys.modules
if "sqlite_utils" not in modules:
    # sqlite-utils imports pandas if it is installed, which takes 0.4 s and 40 MB. Nothing here needs it to.
    # None makes an import fail as if the package were not installed.
    absent = {"numpy", "pandas"} - modules.keys()
    modules.update(dict.fromkeys(absent))
    try:
        import sqlite_utils  # noqa: F401
    finally:
        for name in absent:
            del modules[name]
