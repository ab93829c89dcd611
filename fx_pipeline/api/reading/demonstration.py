"""Whether the service is a demonstration: its rates come from the sandbox. Every page and JSON says so."""

from collections.abc import Hashable
from typing import NamedTuple

from fx_pipeline.api.errors import ApiError
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import Reader, Size
from fx_pipeline.api.reading.served import ServedFile
from fx_pipeline.sqlite import sqlite3

_QUERY = "day_fetches"


class Source(NamedTuple):
    """Where the rates come from, as pages and JSON name it. The sandbox has no address."""

    name: str
    url: str | None


FIXER = Source("Fixer", "https://fixer.io/")
SANDBOX = Source("the sandbox, which imitates Fixer", None)


class Demonstration:
    """Reads where the rates come from, once for each version of the database."""

    def __init__(self, reader: Reader, served: ServedFile) -> None:
        self._reader = reader
        self._served = served
        self._known: tuple[Hashable, bool] = (None, False)

    async def is_one(self) -> bool:
        """Return whether the newest day came from the sandbox: a database never mixes providers.

        Return False if the database cannot be read now, because pages of errors ask, too.
        """
        version = self._served.version()
        if version is None or version != self._known[0]:
            try:
                found = await self._reader.run_unchecked((_QUERY,), _is_made_up, size=Size.SMALL)
            except (ApiError, sqlite3.Error):
                return False
            self._known = (version, found)
        return self._known[1]

    async def source(self) -> Source:
        """Return where the rates come from. Call it only for visitors who may read rates."""
        return SANDBOX if await self.is_one() else FIXER


def _is_made_up(queries: Queries) -> bool:
    return any(provider == "sandbox" for _, _, _, provider, *_ in queries.rows(_QUERY, date=""))
