"""The address of a PostgreSQL database. It contains a password, so no message repeats it."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

_PART = r"(?:[^\s@:/?#\[\]%]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    rf"postgresql(?:\+psycopg2)?://(?:{_PART}+(?::(?P<password>{_PART}*))?@)?"
    rf"(?P<place>(?:{_PART}+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]+)?/{_PART}+)(?:\?[^\s#]*)?"
)


def check_postgres_url(url: str) -> str:
    """Return the address. Raise ValueError if it has another form."""
    if not url.startswith(("postgresql://", "postgresql+psycopg2://")):
        raise ValueError("it must begin with postgresql://")
    if not _URL.fullmatch(url):
        raise ValueError(
            "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE. In the user name and the password, replace "
            "each of @ : / ? # [ ] % and white space by its code, such as %40 for @"
        )
    return url


def with_driver(url: str) -> str:
    """Return the address with the driver that dagster-postgres brings: SQLAlchemy 2.1 would take another."""
    return "postgresql+psycopg2://" + url.partition("://")[2]


def place_of(url: str) -> str:
    """Return the host, port and database, without the user and the password."""
    match = _URL.fullmatch(url)
    return match["place"] if match else ""


def without_password(text: str, url: str) -> str:
    """Return a message about a database, without its passwords (libpq: `password` and `sslpassword`)."""
    match = _URL.fullmatch(url)
    written = [match["password"]] if match and match["password"] else []
    of_query = [value for name, value in parse_qsl(urlsplit(url).query) if name.endswith("password")]
    for password in {
        *written,
        *map(unquote, written),
        *of_query,
        *(quote(value, safe="") for value in of_query),
    }:
        text = text.replace(password, "***")
    return text
