"""The access key: carried to Fixer, and kept out of everything else.

It leaves its holder only while a request is prepared, and what comes back is searched for it.
"""

import logging
import re
from urllib.parse import urlencode

from pydantic import SecretStr
from requests import PreparedRequest
from requests.auth import AuthBase

from fx_pipeline.fixer.errors import InvalidKey
from fx_pipeline.fixer.redaction import REDACTED, Redactor

_IN_QUERY = re.compile(r"(access_key=)[^&\s\"']*", re.IGNORECASE)


class AccessKey(AuthBase):
    """Puts the key where the host wants it: in the query (`access_key`) or in a header (`apikey`).

    Raises InvalidKey for a key that no host can have given out: an empty one, or one with a blank, a line
    break or a letter outside ASCII, as a bad copy has.
    """

    def __init__(self, key: str | SecretStr, carrier: str) -> None:
        self._key = key if isinstance(key, SecretStr) else SecretStr(key)
        self._carrier = carrier
        if re.fullmatch(r"[!-~]+", self._key.get_secret_value()) is None:
            raise InvalidKey(
                "the access key is empty or holds a blank, a line break or a letter outside ASCII"
            )
        self._redactor = Redactor(self._key.get_secret_value())

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._carrier == "header":
            request.headers["apikey"] = self._key.get_secret_value()
        else:
            # Not `prepare_url`, which would take the whole URL apart once more; there is no fragment in it.
            url = request.url or ""
            key = urlencode({"access_key": self._key.get_secret_value()})
            request.url = f"{url}{'&' if '?' in url else '?'}{key}"
        return request

    def __repr__(self) -> str:
        return f"AccessKey({REDACTED!r}, {self._carrier!r})"

    def redact(self, body: bytes) -> bytes:
        """Return `body` with `***` wherever it repeats the key in any encoding; see `Redactor`."""
        return self._redactor.redact(body)


class _WithoutKey(logging.Filter):
    """urllib3 logs the path of each request at DEBUG, and the key may stand in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.exc_info:
            # Headers that cannot be parsed are logged as the server sent them, which may be anything.
            message, record.exc_info, record.exc_text = message.partition(" (url=")[0], None, None
        record.msg, record.args = _IN_QUERY.sub(rf"\1{REDACTED}", message), ()
        return True


for _name in ("connection", "connectionpool", "poolmanager", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_WithoutKey())
