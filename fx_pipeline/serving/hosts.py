"""Decide which host names a server accepts, and which web pages may use it through a browser.

A page on another site can send requests to a server on the visitor's own machine or network. The browser
names that page in `Origin`. If the page's host name was switched to the server's address (DNS rebinding), the
browser treats both as one site. But `Host` still has the foreign name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:(?P<port>[0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """A web page's origin (RFC 6454)."""

    scheme: str
    name: str
    port: int


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names of one server: those in the settings and, always, those of the loopback interface."""

    names: frozenset[str]
    public: Origin | None
    """The public address of the server, if it is set. A proxy may send another `Host`."""

    @classmethod
    def of(cls, url: str | None, allowed: Iterable[str]) -> "Hosts":
        """Return the names of a server with the public address `url`, and the `allowed` names."""
        public = _origin(url) if url else None
        names = {_bare(name) for name in allowed} | ({public.name} if public else set())
        return cls(frozenset(names), public)

    def include(self, host: str, local_address: str | None) -> bool:
        """Return whether the header `Host` names this server.

        `local_address` is the address that the client connected to. Off the loopback interface every address
        is accepted, because only names can be rebound.
        """
        parts = _split(host)
        if parts is None:
            return False
        name, _ = parts
        if name in self.names or _is_loopback_name(name):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return not _is_loopback(local_address)

    def public_scheme(self, host: str) -> str | None:
        """Return the scheme of the public address if the header `Host` names it."""
        if self.public is None:
            return None
        scheme, name, port = self.public
        parts = _split(host)
        return scheme if parts and (parts[0], parts[1] or _PORTS[scheme]) == (name, port) else None

    def is_same_origin(self, origin: str, host: str) -> bool:
        """Return whether a page of `origin` comes from the server that the header `Host` names."""
        page, parts = _origin(origin), _split(host)
        if page is None or parts is None:
            return False
        if page == self.public:
            return True
        if self.public and page.name == self.public.name and self.public.scheme == "https" != page.scheme:
            return False
        name, port = parts
        return (page.name, page.port) == (name, port or _PORTS[page.scheme])


def leads_somewhere(url: str, host: str) -> bool:
    """Return whether a link to `url` leads somewhere for a visitor whose request has this `Host`.

    A loopback address is on the visitor's own machine. This server runs there only if the visitor reached it
    by a loopback name, too.
    """
    target, parts = _origin(url), _split(host)
    if target is None or not _is_loopback_name(target.name):
        return True
    return parts is not None and _is_loopback_name(parts[0])


def is_host_name(text: str) -> bool:
    """Return whether `text` is a host name or an IP address, without a port."""
    parts = _split(f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text)
    return parts is not None and parts[1] is None


def _origin(url: str) -> Origin | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return Origin(parts.scheme, parts.hostname, port) if parts.hostname else None


def _split(host: str) -> tuple[str, int | None] | None:
    """Return the name, in lower case, and the port of a `Host` header; None if it is invalid."""
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    return _bare(found["name"]), int(found["port"]) if found["port"] else None


def _bare(name: str) -> str:
    return name.lower().removeprefix("[").removesuffix("]")


def _is_loopback_name(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _is_loopback(address: str | None) -> bool:
    try:
        return address is None or ip_address(address).is_loopback
    except ValueError:
        return True  # a Unix socket
