"""The schema of the database file, step by step. A released step never changes.

Pending steps are applied whenever ``fx-pipeline`` opens the file for writing, in one transaction.
"""

from sqlite_utils import Migrations
from sqlite_utils.db import Database

migrations = Migrations("fx_pipeline")


def unknown_steps(db: Database) -> list[str]:
    """Return the names of the applied steps that this version does not have: a newer one applied them."""
    known = {step.name for step in migrations.pending(Database(memory=True, execute_plugins=False))}
    return [step.name for step in migrations.applied(db) if step.name not in known]


@migrations()
def create_tables(db: Database) -> None:
    """Create the tables of rates, revisions and fetches."""
    for statement in (
        """
        CREATE TABLE fetches (
            id INTEGER PRIMARY KEY,
            endpoint TEXT NOT NULL,
            start_date TEXT,
            end_date TEXT,
            base TEXT NOT NULL,
            symbols TEXT NOT NULL,
            asked_at TEXT NOT NULL,
            fetched_at TEXT,
            run_id TEXT,
            process TEXT,
            provider TEXT NOT NULL DEFAULT 'fixer',
            calls INTEGER NOT NULL DEFAULT 0,
            quota_limit INTEGER,
            quota_remaining INTEGER,
            status TEXT NOT NULL,
            inserted INTEGER NOT NULL DEFAULT 0,
            updated INTEGER NOT NULL DEFAULT 0,
            unchanged INTEGER NOT NULL DEFAULT 0,
            rejected INTEGER NOT NULL DEFAULT 0,
            body BLOB
        ) STRICT
        """,
        "CREATE INDEX fetches_by_asked_at ON fetches (asked_at, calls)",
        "CREATE INDEX fetches_by_fetched_at ON fetches (fetched_at)",
        "CREATE INDEX fetches_under_way ON fetches (start_date, end_date) WHERE fetched_at IS NULL",
        """
        CREATE TABLE rates (
            date TEXT NOT NULL,
            currency TEXT NOT NULL,
            rate REAL NOT NULL CHECK (rate > 0 AND rate < 9e999),
            fetch_id INTEGER NOT NULL REFERENCES fetches (id),
            PRIMARY KEY (date, currency)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX rates_by_currency ON rates (currency, date, rate, fetch_id)",
        """
        CREATE TABLE days (
            date TEXT PRIMARY KEY,
            base TEXT NOT NULL,
            timestamp INTEGER NOT NULL,
            currencies INTEGER NOT NULL,
            fetch_id INTEGER NOT NULL REFERENCES fetches (id)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE revisions (
            date TEXT NOT NULL,
            currency TEXT NOT NULL,
            rate REAL NOT NULL,
            fetch_id INTEGER NOT NULL REFERENCES fetches (id),
            superseded_by INTEGER NOT NULL REFERENCES fetches (id),
            PRIMARY KEY (date, currency, fetch_id)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX revisions_by_superseded_by ON revisions (superseded_by)",
        """
        CREATE TABLE rejected_rates (
            fetch_id INTEGER NOT NULL REFERENCES fetches (id),
            date TEXT NOT NULL,
            currency TEXT NOT NULL,
            value TEXT NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (fetch_id, date, currency)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX rejected_rates_by_date ON rejected_rates (date)",
        """
        CREATE TABLE symbols (
            code TEXT PRIMARY KEY,
            name TEXT,
            first_date TEXT,
            last_date TEXT
        ) STRICT, WITHOUT ROWID
        """,
    ):
        db.execute(statement)


@migrations()
def narrow_history_index(db: Database) -> None:
    """Drop the fetch id from the index: a twentieth of all bytes was for it.

    The index keeps the rates, so a currency's history is read three times as fast as from the table.
    """
    db.execute("DROP INDEX rates_by_currency")
    db.execute("CREATE INDEX rates_by_currency ON rates (currency, date, rate)")


@migrations()
def remember_refused_symbols(db: Database) -> None:
    """Store the codes in FX_SYMBOLS that the provider does not know: each would fail a whole day again."""
    db.execute(
        "CREATE TABLE refused_symbols (code TEXT PRIMARY KEY, refused_at TEXT NOT NULL) STRICT, WITHOUT ROWID"
    )


@migrations()
def mark_tokens(db: Database) -> None:
    """Store a row while tokens are on, so that a database without its file of tokens stays closed."""
    db.execute(
        """
        CREATE TABLE token_mark (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            changes INTEGER NOT NULL CHECK (changes > 0)
        ) STRICT
        """
    )


@migrations()
def remember_outage(db: Database) -> None:
    """Store when a run last ended because the provider did not respond, until it responds again."""
    db.execute("CREATE TABLE outage (id INTEGER PRIMARY KEY CHECK (id = 1), seen_at TEXT NOT NULL) STRICT")


@migrations()
def remember_wanted_days(db: Database) -> None:
    """Store which days runs were asked for. Until now, they are those of the fetches.

    A range without a last day is open: every later day is wanted too. It begins with the range of the first
    fetch of a day that was the newest when it was fetched.
    """
    for statement in (
        "CREATE TABLE wanted_ranges (first_date TEXT PRIMARY KEY, last_date TEXT) STRICT, WITHOUT ROWID",
        """
        INSERT INTO wanted_ranges
        WITH asked AS (
            SELECT start_date, max(end_date) AS end_date FROM fetches
            WHERE start_date IS NOT NULL GROUP BY start_date
        ), marked AS (
            SELECT start_date, end_date, start_date <= date(
                max(end_date) OVER (ORDER BY start_date ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
                '+1 day'
            ) AS continues FROM asked
        ), numbered AS (
            SELECT start_date, end_date, sum(NOT coalesce(continues, 0)) OVER (ORDER BY start_date) AS number
            FROM marked
        )
        SELECT min(start_date), max(end_date) FROM numbered GROUP BY number
        """,
        """
        UPDATE wanted_ranges SET last_date = NULL WHERE first_date = (
            SELECT max(first_date) FROM wanted_ranges
            WHERE first_date <= (SELECT min(end_date) FROM fetches WHERE end_date >= date(asked_at, '-1 day'))
        )
        """,
        """
        DELETE FROM wanted_ranges
        WHERE first_date > (SELECT first_date FROM wanted_ranges WHERE last_date IS NULL)
        """,
    ):
        db.execute(statement)
