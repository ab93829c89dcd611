"""The shortcut and Datasette's router return the same responses under the same rules."""

from typing import Any

import pytest

from fx_pipeline_tests.api.conftest import OpenApi
from fx_pipeline_tests.api.history import History

PATHS = [
    "/rates",
    "/rates/",
    "/rates/2026-03-09",
    "/rates/2026-03-09/?base=USD&symbols=GBP,EUR",
    "/rates/2026-03-09.csv",
    "/rates/latest",
    "/rates/2026-03-05..2026-03-09/?symbols=USD",
    "/rates/timeseries?start_date=2026-03-05&end_date=2026-03-09",
    "/rates/convert?from=USD&to=GBP&amount=3",
    "/rates/fluctuation?start_date=2026-03-05&end_date=2026-03-09",
    "/rates/symbols",
    "/rates/openapi.json",
    "/rates/docs/",
    "/rates/2026-03-07/",
    "/rates/2026-02-30/",
    "/rates/unknown",
    "/rates/a%2Fb",
    "/rates/%FF",
]


@pytest.mark.parametrize("path", PATHS)
async def test_the_router_and_the_shortcut_return_the_same_response(
    history: History, open_api: OpenApi, path: str
) -> None:
    api = open_api(history.path)
    await api.get("/rates/")  # starts Datasette
    anonymous = await api.get(path, x_request_id="order-17")
    known = await api.get(path, x_request_id="order-17", cookie="ds_actor=x")
    assert (known.status_code, known.content) == (anonymous.status_code, anonymous.content)
    expected = {**dict(anonymous.headers), "cache-control": "private, no-store"}
    assert dict(known.headers) == expected


@pytest.mark.parametrize(
    ("rule", "status"),
    [({"allow": False}, 403), ({"allow": {"id": "*"}}, 403), ({"allow": True}, 200), ({}, 200)],
)
async def test_both_ways_obey_the_permissions_in_the_metadata(
    history: History, open_api: OpenApi, metadata: dict[str, Any], rule: dict[str, object], status: int
) -> None:
    metadata["queries"]["rates_by_date"].update(rule)
    api = open_api(history.path)
    await api.get("/-/health")
    for headers in ({}, {"cookie": "ds_actor=x"}):
        assert (await api.get("/rates/2026-03-09/", **headers)).status_code == status
        assert (await api.get("/rates/symbols", **headers)).status_code == 200
