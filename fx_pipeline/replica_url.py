"""The address of a replica, as in FX_REPLICA_URL. It may contain a password, so no message repeats it."""

import re
from urllib.parse import unquote, urlsplit

SCHEMES = ("s3", "gs", "abs", "sftp", "file")
"""The stores that Litestream writes to and that are supported here."""

_PLAIN = re.compile(r"[!#-\[\]-~]+")
"""Printable ASCII without white space, quotation mark and backslash: the address goes into a YAML string."""


def check_replica_url(url: str) -> str:
    """Return the address without a slash at its end. Raise ValueError if it cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not url.startswith(f"{parts.scheme}://"):
        raise ValueError(f"it must begin with {', '.join(f'{name}://' for name in SCHEMES[:-1])} or file://")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError("write file:///FOLDER with the full path of a folder")
        return url.rstrip("/")
    if not _PLAIN.fullmatch(url) or parts.fragment:
        raise ValueError(
            "replace each character other than letters, digits and punctuation by its code, such as %20"
        )
    if not parts.hostname:
        raise ValueError(
            f"after {parts.scheme}:// it must name a {'host' if parts.scheme == 'sftp' else 'bucket'}"
        )
    if parts.scheme == "sftp" and not (parts.username and parts.path.strip("/")):
        raise ValueError("write sftp://USER:PASSWORD@HOST:PORT/FOLDER")
    if parts.scheme == "abs" and not parts.username:
        raise ValueError("write abs://ACCOUNT@CONTAINER/PATH")
    return url.rstrip("/")


def without_secrets(text: str, url: str) -> str:
    """Return a message about a replica without the password and the query of its address."""
    parts = urlsplit(url)
    for secret in {parts.password or "", unquote(parts.password or ""), parts.query} - {""}:
        text = text.replace(secret, "***")
    return text


def place_of(url: str) -> str:
    """Return the address without user, password and query, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
