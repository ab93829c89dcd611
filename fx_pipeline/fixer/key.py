"""The access key: sent to Fixer, and kept out of everything else.

It is only read while a request is prepared. Every response is searched for it. Whatever a program does about
logging, urllib3 does not log a key once there is one.
"""

import logging
import re
from urllib.parse import urlencode

from pydantic import SecretStr
from requests import PreparedRequest
from requests.auth import AuthBase

from fx_pipeline.fixer.errors import InvalidKey
from fx_pipeline.fixer.redaction import REDACTED, Redactor
from fx_pipeline.setting_types import is_access_key

_IN_QUERY = re.compile(r"(access_key=)[^&\s\"']*", re.IGNORECASE)


class AccessKey(AuthBase):
    """Adds the key to requests: in the query (`access_key`) or in a header (`apikey`).

    Raises InvalidKey for a key that cannot be valid: empty, or with white space or non-ASCII characters, as
    after a bad copy.
    """

    def __init__(self, key: str | SecretStr, carrier: str) -> None:
        self._key = key if isinstance(key, SecretStr) else SecretStr(key)
        self._carrier = carrier
        if not is_access_key(self._key.get_secret_value()):
            raise InvalidKey("the access key is empty, or contains white space or a non-ASCII character")
        self._redactor = Redactor(self._key.get_secret_value())
        for name in ("connection", "connectionpool", "poolmanager", "util.retry"):
            logging.getLogger(f"urllib3.{name}").addFilter(_without_key)  # does nothing if it is there

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the key to a request."""
        if self._carrier == "header":
            request.headers["apikey"] = self._key.get_secret_value()
        else:
            # Not `prepare_url`, which would parse the whole URL again. The URL has no fragment.
            url = request.url or ""
            key = urlencode({"access_key": self._key.get_secret_value()})
            request.url = f"{url}{'&' if '?' in url else '?'}{key}"
        return request

    def __repr__(self) -> str:
        return f"AccessKey({REDACTED!r}, {self._carrier!r})"

    def redact(self, body: bytes) -> bytes:
        """Return `body` with `***` in place of the key in any encoding; see `Redactor`."""
        return self._redactor.redact(body)


class _WithoutKey(logging.Filter):
    """Redacts log records. urllib3 logs the path of each request at DEBUG, which may contain the key."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.exc_info:
            # Malformed headers are logged as the server sent them, and may contain anything.
            message, record.exc_info, record.exc_text = message.partition(" (url=")[0], None, None
        record.msg, record.args = _IN_QUERY.sub(rf"\1{REDACTED}", message), ()
        return True


_without_key = _WithoutKey()
