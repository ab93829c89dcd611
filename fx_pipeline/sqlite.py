"""The only import of SQLite: `from fx_pipeline.sqlite import sqlite3`.

Versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode when two connections write or checkpoint at the
same moment (sqlite.org/wal.html, "The WAL-Reset Bug"). Most Pythons link one of them. The package pysqlite3
contains a fixed one. Datasette and sqlite-utils prefer it too. With two copies of SQLite in one process, each
releases the other's locks on a file (sqlite.org/howtocorrupt.html, 2.2.1), and an `except` misses the other's
errors.
"""

from typing import TYPE_CHECKING

__all__ = ["sqlite3"]

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        import pysqlite3 as sqlite3
    except ImportError:  # it has no wheel for this platform
        import sqlite3
