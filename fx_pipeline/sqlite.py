"""The only import of SQLite: `from fx_pipeline.sqlite import sqlite3`.

Versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode when two connections write or checkpoint at the
same moment (sqlite.org/wal.html, "The WAL-Reset Bug"). Most Pythons link one of them. The package pysqlite3
contains a fixed one. Datasette and sqlite-utils prefer it too. With two copies of SQLite in one process, each
releases the other's locks on a file (sqlite.org/howtocorrupt.html, 2.2.1), and an `except` misses the other's
errors.

For mypy it is the standard library's. pysqlite3 has no `autocommit`, `blobopen`, `iterdump`, `serialize`,
`deserialize`, `getlimit` or `setlimit`, which newer Pythons have: do not use them.
"""

from typing import TYPE_CHECKING

__all__ = ["sqlite3", "unsound"]

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        import pysqlite3 as sqlite3
    except ImportError:  # it has no wheel for this platform
        import sqlite3


def unsound(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str | None:
    """Return why a version of SQLite, by default this process's, should not write a database; None if it may.

    The bug is fixed in 3.51.3 and 3.53.0, and in the older branches in 3.44.6 and 3.50.7. Version 3.52.0 was
    withdrawn (sqlite.org/changes.html).
    """
    fixed = (
        version >= (3, 53)
        or (3, 51, 3) <= version < (3, 52)
        or (3, 50, 7) <= version < (3, 51)
        or (3, 44, 6) <= version < (3, 45)
    )
    if fixed:
        return None
    return (
        f"SQLite {'.'.join(map(str, version))} can corrupt a database that several processes use. Use a "
        "Python whose SQLite is 3.51.3 or newer, or a platform for which the package pysqlite3 has a wheel."
    )
