"""The handlers of the operations about the API itself: the index, and the OpenAPI document."""

import datetime as dt

from fx_pipeline.api.contract.openapi import document
from fx_pipeline.api.endpoints.days import stored_days
from fx_pipeline.api.endpoints.handlers import names
from fx_pipeline.api.endpoints.inputs import NoInput
from fx_pipeline.api.endpoints.operation import Context, Stored
from fx_pipeline.api.replies import Reply, as_json, recent, until_midnight


def index(context: Context, _: NoInput) -> Reply:
    """Return the newest and the oldest day, and a link to each endpoint."""
    ((newest, oldest, base),) = context.queries.rows("latest_date")
    stored = {"last": newest or "YYYY-MM-DD", "first": oldest or "YYYY-MM-DD", "base": base or "EUR"}
    prefix = context.settings.api_prefix
    links = (operation.link for operation in context.operations if operation.link)
    description = {
        "success": True,
        "name": "fx-pipeline",
        "description": "Daily exchange rates, in Fixer's own protocol.",
        "base": base,
        "latest_date": newest,
        "first_date": oldest,
        "endpoints": {link.name: f"{prefix}{link.target.format_map(stored)}" for link in links},
    }
    return Reply(as_json(description), recent())


def openapi(context: Context, _: NoInput) -> Reply:
    """Return the OpenAPI document of this instance."""
    described = document(context.operations, stored_data(context), context.settings.api_prefix)
    return Reply(as_json(described), until_midnight(context.now))


def page(_: Context, __: NoInput) -> Reply:
    """Stand in for the handler of the docs page and of the metrics, which have their own views."""
    raise NotImplementedError


def stored_data(context: Context) -> Stored:
    """Return the stored data of this instance, as descriptions of the API need it."""
    ((newest, oldest, _),) = context.queries.rows("latest_date")
    today = context.now.date()
    if not newest:
        return Stored(today=today)
    first, last = dt.date.fromisoformat(oldest), dt.date.fromisoformat(newest)
    recent = stored_days(context.queries, last - dt.timedelta(days=2), last, None).first or newest
    return Stored(names(context).keys(), first, last, dt.date.fromisoformat(recent), today)
