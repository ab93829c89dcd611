"""The health checks: does the API work, should a load balancer use it, and is its data current.

They are separate because a restart does not bring new data: only `/-/health` should trigger one.
"""

import datetime as dt
import logging

from fx_pipeline.alerted import read_alerts, watcher_problem
from fx_pipeline.api.endpoints.inputs import NoInput
from fx_pipeline.api.endpoints.operation import Context
from fx_pipeline.api.replies import NO_STORE, Document, Reply, as_json
from fx_pipeline.drilled import read_drill
from fx_pipeline.following import read_position
from fx_pipeline.replicated import read_state
from fx_pipeline.sqlite import unsound

logger = logging.getLogger(__name__)


def health(context: Context, _: NoInput) -> Reply:
    """Return 200, with the stored counts, and the state of requests, replication, drills and SQLite.

    A restart would not change any of them, so it is no reason for 503.
    """
    context.queries.rows("latest_date")  # read each time, because the counts may be cached
    facts = context.counts.read(context.queries, context.version)
    replication = read_state(context.settings.fx_database)
    position = read_position(context.settings.fx_database)
    drill = read_drill(context.settings.fx_database)
    further = {
        "closed": context.closed,
        "replication": replication and replication.status,
        "sqlite": unsound(),
        "restore_drill": drill and drill.document(context.now),
        "reader": position and position.document(context.now, context.settings.fx_max_lag_seconds),
    }
    return _reply(200, {**facts, **{name: value for name, value in further.items() if value}})


def readiness(context: Context, _: NoInput) -> Reply:
    """Return 503 if this is a reader that lags more than FX_MAX_LAG_SECONDS, else 200."""
    context.queries.rows("latest_date")
    position, limit = read_position(context.settings.fx_database), context.settings.fx_max_lag_seconds
    if position is None:
        return _reply(200, {"status": "ready"})
    ready = position.is_ready(context.now, limit)
    facts: Document = {
        "status": "ready" if ready else "lagging",
        "reader": position.document(context.now, limit),
    }
    return _reply(200 if ready else 503, facts)


def freshness(context: Context, _: NoInput) -> Reply:
    """Return 503 if the newest stored day is more than FX_MAX_AGE_DAYS days old or its rates are, else 200.

    The rates are old if the provider's rates certainly stand still.

    Return 503 also if alerts should be sent, but nothing watches for them.
    """
    ((newest, _, _),) = context.queries.rows("latest_date")
    max_age_days = context.settings.fx_max_age_days
    age = (context.now.date() - dt.date.fromisoformat(newest)).days if newest else None
    fresh = age is not None and age <= max_age_days
    content = context.counts.content_age(context.queries, context.version)
    frozen = content is not None and content.state == "frozen"
    facts: Document = {
        "latest_date": newest,
        "age_days": age,
        "max_age_days": max_age_days,
        "content_age": content and content.document(),
    }
    unwatched = watcher_problem(read_alerts(context.settings.fx_database), context.now)
    if unwatched:
        facts = {**facts, "alerts": unwatched}
    status = "stale" if not fresh else "frozen" if frozen else "unwatched" if unwatched else "fresh"
    return _reply(200 if status == "fresh" else 503, {"status": status, **facts})


def unreadable(error: Exception) -> Reply:
    """Return 503: the process is up, but the database cannot be read."""
    logger.error("the database cannot be read: %s", error or type(error).__name__)
    return _reply(503, {"status": "error", "message": "The database cannot be read."})


def _reply(status: int, document: Document) -> Reply:
    return Reply(as_json(document), NO_STORE, status=status)
