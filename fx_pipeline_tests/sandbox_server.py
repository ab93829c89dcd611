"""The sandbox, served by uvicorn in a thread, on a free port of 127.0.0.1."""

import asyncio
import datetime as dt
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import format_datetime
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.clock import utc_now
from fx_pipeline.fixer.sandbox.app import SandboxOptions, SandboxState, bind, create_app, server
from fx_pipeline_tests.waiting import wait_for


class Sandbox:
    """A running sandbox. `url` is used exactly like https://data.fixer.io/api."""

    def __init__(self, url: str, state: SandboxState, released: threading.Event) -> None:
        self.url = url
        self.state = state
        self._released = released
        self.slow_by = dt.timedelta()
        """By how much its clock differs from this process's."""

    def now(self) -> dt.datetime:
        """Return what its clock shows. The header Date of its responses has it."""
        return utc_now() - self.slow_by

    def stats(self) -> dict[str, Any]:
        """Return what GET /-/stats responds: all calls, by endpoint and outcome, and the quota's use."""
        return self.state.stats()

    def asked_dates(self) -> Counter[str]:
        """Return how often each date has been asked for, in calls for a single day."""
        asked = {tuple(question.split(" ", 1)): times for question, times in self.state.asked.items()}
        return Counter(
            {
                json.loads(parameters)["date"]: times
                for (endpoint, parameters), times in asked.items()
                if endpoint == "historical"
            }
        )

    def change(self, **options: Any) -> None:
        """Replace some of the SandboxOptions while it runs, except `currencies`."""
        self.state.options = replace(self.state.options, **options)

    def hold(self) -> None:
        """Count requests, but send no response until `release`."""
        self._released.clear()

    def release(self) -> None:
        """Send the responses that are held, and later ones immediately."""
        self._released.set()


class _Hold:
    """ASGI middleware that sends responses only while an event is set, dated by the sandbox's clock."""

    def __init__(self, app: ASGIApp, released: threading.Event, now: Callable[[], dt.datetime]) -> None:
        self._app = app
        self._released = released
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_when_released(message: Message) -> None:
            while not self._released.is_set():
                await asyncio.sleep(0.01)
            if message["type"] == "http.response.start":
                date = format_datetime(self._now(), usegmt=True).encode()
                message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
            await send(message)

        await self._app(scope, receive, send_when_released)


@contextmanager
def running_sandbox(**options: Any) -> Iterator[Sandbox]:
    """Yield a running sandbox with these SandboxOptions."""
    app = create_app(SandboxOptions(**options))
    released = threading.Event()
    released.set()
    with bind("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        sandbox = Sandbox(address, app.state.sandbox, released)
        app.add_middleware(_Hold, released=released, now=sandbox.now)
        service = server(app)
        service.config.date_header = False  # uvicorn's is up to a second old, which a moved clock makes hours
        thread = threading.Thread(target=service.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            wait_for(lambda: service.started or not thread.is_alive(), pause=0.005)
            assert service.started, "the sandbox did not start; its log shows the reason"
            yield sandbox
        finally:
            released.set()
            service.should_exit = True
            thread.join()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Yield a sandbox with its default options."""
    with running_sandbox() as sandbox:
        yield sandbox
