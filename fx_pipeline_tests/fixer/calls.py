"""A request for one day, responses to it, and a client that makes it."""

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline_tests.fixer.scripted_server import reply
from fx_pipeline_tests.waiting import PATIENCE

DATE = dt.date(2000, 1, 3)
DAY = {
    "success": True,
    "timestamp": 946943999,
    "historical": True,
    "base": "EUR",
    "date": "2000-01-03",
    "rates": {"EUR": 1, "USD": 1.020124, "GBP": 0.627016},
}
GOOD = reply(DAY)
KEY = "0123456789abcdef"
PAGE = "<!DOCTYPE html><html><body>Bad Gateway</body></html>"


def refused(code: int, type: str) -> bytes:
    return reply({"success": False, "error": {"code": code, "type": type, "info": "In words."}})


def client_of(url: str, **options: Any) -> FixerClient:
    """Return a client that retries immediately."""
    return FixerClient(url, KEY, **{"timeout": (PATIENCE, PATIENCE), "backoff": 0.0, **options})


def timeout_for(name: str) -> tuple[float, float]:
    """Return a short read timeout only if the server is silent. A busy machine may be slow otherwise."""
    return (PATIENCE, 0.5 if "silent" in name else PATIENCE)


def tls(certificate: Path) -> ssl.SSLContext:
    """Return the TLS settings of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
