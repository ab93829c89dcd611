"""The prefix of FX_API_URL in the links and redirects that Datasette makes.

Datasette's setting `base_url` also adds a prefix, but its router then removes it from the path of each
request: /fx/rates, which has lost the prefix /fx already, would become /rates.
"""

from datasette.app import Datasette
from datasette.url_builder import Urls
from datasette.utils import PrefixedUrlString
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class PrefixedUrls(Urls):  # type: ignore[misc]  # datasette has no types
    """The links of Datasette's pages, beginning with `prefix`."""

    def __init__(self, datasette: Datasette, prefix: str) -> None:
        super().__init__(datasette)
        self._prefix = prefix

    def path(self, path: str, format: str | None = None) -> PrefixedUrlString:
        """Return the link to a path. A link that has the prefix already stays as it is."""
        if not isinstance(path, PrefixedUrlString):
            path = PrefixedUrlString(f"{self._prefix}/{path.removeprefix('/')}")
        return super().path(path, format)


class PrefixedRedirects:
    """An ASGI application that adds `prefix` to redirects which Datasette makes without a link.

    If there is no page, it redirects a path that ends with a slash or contains a percent sign. Its other
    redirects are links: the prefix, the path of the request, and other parameters.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self._prefix = prefix.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        link = self._prefix + scope["raw_path"]

        def prefixed(name: bytes, value: bytes) -> bytes:
            is_bare = name.lower() == b"location" and not value.startswith(link)
            return self._prefix + value if is_bare else value

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and 300 <= message["status"] < 400:
                headers = [(name, prefixed(name, value)) for name, value in message["headers"]]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, sending)
