"""The API over a database file, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.middleware.stack import application
from fx_pipeline.settings import Settings


@asynccontextmanager
async def served(database: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of the API. Close its Datasette at the end."""
    datasette = FxDatasette(Settings(fx_database=database))
    transport = httpx.ASGITransport(app=application(datasette))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield client
    finally:
        datasette.executor.shutdown()
        datasette.get_database("fx").close()
