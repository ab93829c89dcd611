"""A sandbox for tests: the real one, under uvicorn in a thread, on a free port of 127.0.0.1."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fx_pipeline.fixer.sandbox.app import SandboxOptions, SandboxState, bind, create_app, server


class Sandbox:
    """A running sandbox: `url` is used exactly like https://data.fixer.io/api."""

    def __init__(self, url: str, state: SandboxState) -> None:
        self.url = url
        self.state = state

    def stats(self) -> dict[str, Any]:
        """What GET /-/stats answers: calls in all, by endpoint and outcome, and against the quota."""
        return self.state.stats()

    def asked_dates(self) -> Counter[str]:
        """How often each date has been asked for by itself."""
        asked = {tuple(question.split(" ", 1)): times for question, times in self.state.asked.items()}
        return Counter(
            {
                json.loads(parameters)["date"]: times
                for (endpoint, parameters), times in asked.items()
                if endpoint == "historical"
            }
        )

    def change(self, **options: Any) -> None:
        """Replace some of the SandboxOptions while it runs (all but `currencies`)."""
        self.state.options = replace(self.state.options, **options)


@contextmanager
def running_sandbox(**options: Any) -> Iterator[Sandbox]:
    """Run a sandbox with these SandboxOptions for the length of a `with` block."""
    app = create_app(SandboxOptions(**options))
    with bind("127.0.0.1", 0) as listener:
        service = server(app)
        thread = threading.Thread(target=service.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not service.started:
                if not thread.is_alive():
                    raise RuntimeError("The sandbox ended before it had started; its log says why.")
                time.sleep(0.005)
            yield Sandbox(f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.sandbox)
        finally:
            service.should_exit = True
            thread.join()
