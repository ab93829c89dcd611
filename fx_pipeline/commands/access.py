"""Changes to tokens: in their own file, and to the mark in the database that they are required.

The file of tokens is changed first: a mark ahead of the file would close the API. The database is locked
before that, so nothing changes if the mark cannot be written.
"""

from dataclasses import dataclass
from typing import Literal

from fx_pipeline.api.tokens.file import TokenError, TokenFile, TokenRecord
from fx_pipeline.api.tokens.mark import problem, read_mark
from fx_pipeline.following import is_reader
from fx_pipeline.settings import Settings
from fx_pipeline.store.database import explained
from fx_pipeline.store.token_mark import marking


@dataclass(frozen=True, slots=True)
class AccessState:
    """The API's access mode, the number of valid tokens, and why it refuses every request, if it does."""

    mode: Literal["open", "tokens", "closed"]
    valid: int
    problem: str | None = None


class Access:
    """The tokens of one installation. Methods raise TokenError or StoreError if a file cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self.database = settings.fx_database
        self.file = TokenFile(settings.tokens_database)
        self._always = settings.fx_require_token

    def state(self) -> AccessState:
        """Return the current access. A TokenError becomes part of the state."""
        try:
            mark = self._mark()
            valid, changes = self.file.counts()
        except TokenError as error:
            return AccessState("closed", 0, str(error))
        found = problem(mark, changes)
        if found:
            return AccessState("closed", 0, found)
        return AccessState("tokens" if changes or self._always else "open", valid)

    def records(self) -> list[TokenRecord]:
        """Return all tokens, oldest first."""
        return self.file.records()

    def create(self, name: str) -> str:
        """Create a token and return it. From then on, the current file of tokens is trusted."""
        with marking(self.database) as mark:
            token = self.file.create(name)
            mark.set(self.file.counts()[1])
        return token

    def revoke(self, name: str) -> int:
        """Revoke the valid token with that name. Return how many valid ones are left."""
        with marking(self.database) as mark:
            left = self.file.revoke(name)
            # A file that is behind the mark stays behind it.
            mark.set(max(self.file.counts()[1], (mark.changes() or 0) + 1))
        return left

    def off(self) -> int:
        """Delete every token, which opens the API. Return how many tokens there were."""
        # In this order the API never sees a mark without tokens, which would close it.
        with marking(self.database) as mark:
            mark.clear()
        return self.file.forget_all()

    def keep_mark(self) -> None:
        """Set the mark if it is behind the tokens, or missing: they were created without it."""
        _, changes = self.file.counts()
        if changes > (self._mark() or 0) and not is_reader(self.database):
            with marking(self.database) as mark:
                mark.set(max(changes, mark.changes() or 0))

    def _mark(self) -> int | None:
        with explained(self.database):
            return read_mark(self.database)
