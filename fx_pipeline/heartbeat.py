"""The dead man's switch: reports to FX_HEARTBEAT_URL, where an outside service expects one every day.

The convention is that of healthchecks.io/docs/http_api: POST to the address after a success, and to `/start`
and `/fail` below it, with the id of the run as `rid`. The address is a secret, so no message repeats it.
"""

import threading
import time
import urllib.error
import urllib.request
from typing import Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

Signal = Literal["start", "fail", "success"]

ATTEMPTS = 3
TIMEOUT = 5.0
"""Seconds for one attempt to connect, and for each read."""
PAUSE = 1.0
"""Seconds before the second attempt. Before the third, twice as long."""
DEADLINE = 20.0
"""Seconds for all attempts, whatever the service and the name server do."""

_LATER = {408, 425, 429}
"""Statuses of a refusal that may be temporary, besides those from 500."""


def report(url: SecretStr, signal: Signal, *, run_id: str, text: str = "") -> str | None:
    """Report a start or an end. Return why the service did not accept it; None if it did.

    Raise nothing: a report must not fail a run.
    """
    outcome: list[str | None] = []
    address = _address(url.get_secret_value(), signal, run_id)
    thread = threading.Thread(target=lambda: outcome.append(_send(address, text)), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    return outcome[0] if outcome else f"no response within {DEADLINE:g} s"


def _address(url: str, signal: Signal, run_id: str) -> str:
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + ("" if signal == "success" else f"/{signal}")
    query = "&".join(filter(None, (parts.query, urlencode({"rid": run_id}))))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _send(address: str, text: str) -> str | None:
    failure: str | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * attempt)
        failure, again = _attempt(address, text)
        if not again:
            break
    return failure


def _attempt(address: str, text: str) -> tuple[str | None, bool]:
    """Return why it failed, and whether another attempt can help.

    Only types are returned: the text of an exception may contain the address.
    """
    headers = {"User-Agent": "fx-pipeline"}
    # The settings accept only http and https.
    request = urllib.request.Request(address, text.encode(), headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
            return None, False
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}", error.code >= 500 or error.code in _LATER
    except urllib.error.URLError as error:
        reason = error.reason if isinstance(error.reason, Exception) else error
        return f"no connection: {type(reason).__name__}", True
    except Exception as error:  # noqa: BLE001  # whatever it is, it must not fail the run
        return f"no response: {type(error).__name__}", True
