"""Judge the tables of a database by the invariants that hold between them.

Each rule is a query whose rows are the violations. A violation that the stored responses can correct is
remedied by a rebuild; the others need a restore.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from sqlite_utils import Database

from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import RESTORE
from fx_pipeline.store.migrations import migrations, unknown_steps

REBUILD = "Correct the rates from the stored responses: `fx-pipeline rebuild`."

_SCHEMA = """
    SELECT type || ' ' || name, sql FROM sqlite_schema
    WHERE sql IS NOT NULL AND tbl_name <> '_sqlite_migrations'
"""

LISTED = 5
"""Violations of one rule that its line names. It counts all."""


class Rule(NamedTuple):
    """A query whose rows violate a rule, how a line describes them, and the remedy. A row is one text."""

    problem: str
    query: str
    remedy: str = REBUILD
    needs: str = "rates"
    """The newest of the tables that the query reads. An earlier version may not have created it."""


RULES = (
    Rule(
        "days without a rate",
        "SELECT date FROM days WHERE NOT EXISTS (SELECT 1 FROM rates WHERE rates.date = days.date)",
    ),
    Rule(
        "days with rates that are not marked as stored",
        "SELECT date FROM (SELECT DISTINCT date FROM rates) WHERE date NOT IN (SELECT date FROM days)",
    ),
    Rule(
        "days with more or fewer rates than they count",
        """
        SELECT date FROM days JOIN (SELECT date, count(*) AS stored FROM rates GROUP BY date) USING (date)
        WHERE currencies <> stored
        """,
    ),
    Rule(
        "days in another base than the newest day",
        "SELECT date FROM days WHERE base <> (SELECT base FROM days ORDER BY date DESC LIMIT 1)",
        RESTORE,
    ),
    Rule(
        "fetches from another provider than the newest day's",
        """
        SELECT id FROM fetches WHERE id IN (SELECT fetch_id FROM days) AND provider <> (
            SELECT provider FROM days JOIN fetches ON id = fetch_id ORDER BY date DESC LIMIT 1
        )
        """,
        RESTORE,
    ),
    Rule(
        "fetches that rates or days refer to, but that are missing or have no response",
        """
        SELECT used.fetch_id FROM (
            SELECT fetch_id FROM rates UNION SELECT fetch_id FROM days UNION SELECT fetch_id FROM revisions
            UNION SELECT superseded_by FROM revisions UNION SELECT fetch_id FROM rejected_rates
        ) AS used LEFT JOIN fetches ON id = used.fetch_id
        WHERE id IS NULL OR status <> 'ok' OR fetched_at IS NULL OR body IS NULL
        """,
        RESTORE,
    ),
    Rule(
        "stored fetches without a response or an instant",
        """
        SELECT id FROM fetches
        WHERE (fetched_at IS NULL) <> (body IS NULL) OR (status = 'ok' AND fetched_at IS NULL)
        """,
        RESTORE,
    ),
    Rule(
        "fetches dated before an earlier one",
        """
        SELECT id FROM (
            SELECT id, fetched_at, lag(fetched_at) OVER (ORDER BY id) AS before
            FROM fetches WHERE fetched_at IS NOT NULL
        ) WHERE fetched_at <= before
        """,
        RESTORE,
    ),
    Rule(
        "revisions that do not lead to the next value",
        """
        SELECT date || ' ' || currency FROM (
            SELECT
                old.date, old.currency, old.fetch_id, old.rate, old.superseded_by,
                coalesce(lead(old.fetch_id) OVER chain, rates.fetch_id) AS next_id,
                coalesce(lead(old.rate) OVER chain, rates.rate) AS next_rate
            FROM revisions AS old LEFT JOIN rates USING (date, currency)
            WINDOW chain AS (PARTITION BY old.date, old.currency ORDER BY old.fetch_id)
        )
        WHERE next_id IS NOT superseded_by OR next_rate IS rate OR superseded_by <= fetch_id
        """,
    ),
    Rule(
        "currencies whose first or last day is not that of their rates",
        """
        SELECT coalesce(code, currency) FROM (
            SELECT currency, min(date) AS first, max(date) AS last FROM rates GROUP BY currency
        ) LEFT JOIN symbols ON code = currency
        WHERE first_date IS NOT first OR last_date IS NOT last
        UNION ALL SELECT code FROM symbols
        WHERE first_date IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rates WHERE currency = code)
        """,
    ),
    Rule(
        "ranges of wanted days that overlap or end before they begin",
        """
        SELECT first_date FROM (
            SELECT first_date, last_date, lead(first_date) OVER (ORDER BY first_date) AS next
            FROM wanted_ranges
        ) WHERE last_date < first_date OR next <= coalesce(last_date, '9999-12-31')
        """,
        RESTORE,
        needs="wanted_ranges",
    ),
)


def violations(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield a line for each rule that the tables violate."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for rule in RULES:
        if rule.needs in tables and (line := _line(connection, rule)):
            yield line


def schema_differences(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield a line for each of our tables and indexes that is missing or not as the migrations create it.

    Tables of others, such as Litestream's, are ignored. A file of an earlier version is not compared, because
    its next opening changes it.
    """
    stored = Database(connection, execute_plugins=False)
    if not migrations.applied(stored):
        yield "This is not a database of fx-pipeline. Set FX_DATABASE to another file, or restore this one."
    elif unknown := unknown_steps(stored):
        yield f"A newer version wrote this file (schema: {', '.join(unknown)}). Check it with that version."
    elif not migrations.pending(stored):
        found = dict(connection.execute(_SCHEMA).fetchall())
        for name, sql in _expected_schema():
            if found.get(name) != sql:
                yield f"The {name} is {'not as created' if name in found else 'missing'}. {RESTORE}"


def _expected_schema() -> list[tuple[str, str]]:
    """Return each of our tables and indexes, and the statement that creates it."""
    with closing(Database(memory=True, execute_plugins=False)) as expected:
        migrations.apply(expected)
        return expected.execute(_SCHEMA).fetchall()


def _line(connection: sqlite3.Connection, rule: Rule) -> str | None:
    rows = connection.execute(rule.query)
    named = [str(row[0]) for row in rows.fetchmany(LISTED)]
    if not named:
        return None
    more = sum(1 for _ in rows)
    return described(rule.problem, named, len(named) + more, rule.remedy)


def described(problem: str, named: list[str], count: int, remedy: str) -> str:
    """Return one line: the problem, how often, the first cases, and the remedy."""
    rest = f" and {count - len(named):,} more" if count > len(named) else ""
    return f"{count:,} {problem}: {', '.join(named)}{rest}. {remedy}"
