"""The protocol of the API's connections, which counts what no application sees."""

import asyncio
from time import perf_counter_ns

from fx_pipeline.api.metrics.counters import of_process
from fx_pipeline.serving.bounds import BoundedProtocol


class CountedProtocol(BoundedProtocol):
    """`BoundedProtocol`, with counts of open connections and of refused requests."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Count the connection."""
        super().connection_made(transport)
        of_process().set_connections(len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no longer."""
        super().connection_lost(exc)
        of_process().set_connections(len(self.connections))

    def count_refusal(self, status: int) -> None:
        """Count a request that was refused before it was read."""
        counters = of_process()
        counters.add(counters.record("refused", status, "bypass"), perf_counter_ns(), 0)
