"""The page of what is public is right: its paths are requested with and without a token."""

import html
import re

import pytest

from fx_pipeline.api.pages.public import EXPOSURES, Access
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.commands.access import Access as TokenCommands
from fx_pipeline.replicated import ReplicationState, folder_of, write_state
from fx_pipeline.settings import Settings
from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.public_paths import CLOSED, PATHS

CASES = [(path, exposure.access) for exposure in EXPOSURES for path in exposure.paths]
IDS = [path for path, _ in CASES]

LISTED = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
"""The first request of an assistant."""


async def is_read(api: Api, path: str, **headers: str) -> bool:
    """Return whether a client with these headers may read the path."""
    if path == "/-/mcp":
        own = {"Accept": "application/json, text/event-stream", "Host": "localhost"}
        answer = await api.client.post(path, json=LISTED, headers={**own, **headers})
    else:
        answer = await api.get(path, **headers)
    assert answer.status_code in (200, 401, 403)
    return answer.status_code == 200


@pytest.mark.parametrize(("path", "access"), CASES, ids=IDS)
async def test_a_path_has_the_access_on_the_page(
    history: History, api: Api, path: str, access: Access
) -> None:
    while_open = await is_read(api, path)
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    anonymous = await is_read(api, path)
    holder = await is_read(api, path, Authorization=f"Bearer {token}")
    expected = {
        Access.PUBLIC: (True, True, True),
        Access.READERS: (True, False, True),
        Access.HOLDERS: (False, False, True),
        Access.CLOSED: (False, False, False),
    }[access]
    assert (while_open, anonymous, holder) == expected


FACTS = {
    "status": "whether the service works",
    "closed": "why it refuses other requests",
    "sqlite": "a version of SQLite that can corrupt data",
    "replication": "whether a replica is up to date",
    "days": "how much is stored",
    "rates": "how much is stored",
    "symbols": "how much is stored",
    "first_date": "the first and the latest day",
    "latest_date": "the first and the latest day",
}
"""What each member of the health check reports, in the words of the page."""


async def test_the_page_names_everything_that_the_health_check_reports(
    history: History, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fx_pipeline.api.endpoints.health.unsound", lambda: "SQLite is old.")
    TokenCommands(Settings(fx_database=history.path)).create("reports")
    history.path.with_name("tokens.db").unlink()
    folder_of(history.path).mkdir()
    write_state(history.path, ReplicationState("2026-03-10T12:00:00+00:00", None))
    reported = set((await api.get("/-/health")).json())
    assert reported == {*FACTS, "base"}
    [why] = [exposure.why for exposure in EXPOSURES if "/-/health" in exposure.paths]
    assert [fact for fact in FACTS.values() if fact not in why] == []


def test_every_reason_for_a_closed_path_is_on_the_page() -> None:
    shown = {path.rstrip("/") for path, _ in CASES}
    closed: dict[str, set[str]] = {}
    for path, answer, why in PATHS:
        if answer == CLOSED:
            closed.setdefault(why, set()).add(path)
    missing = {why for why, paths in closed.items() if not paths & shown}
    # Both lead to rows of `fetches`, which are on the page.
    assert missing == {"bodies as they were received", "a closed table, asked through an open one"}


@pytest.mark.parametrize(("required", "says"), [(False, "requires no token"), (True, "requires a token.")])
async def test_the_page_lists_all_rows(history: History, api: Api, required: bool, says: str) -> None:
    headers = {}
    if required:
        token = TokenFile(history.path.with_name("tokens.db")).create("reports")
        headers = {"Authorization": f"Bearer {token}"}
    answer = await api.get("/public/", **headers)
    assert answer.headers["cache-control"] == "no-store" if not required else "private, no-store"
    assert says in answer.text
    rows = re.findall(
        r"<tr>\s*<th scope=\"row\"><strong>(.*?)</strong>.*?<td>(.*?)</td>\s*<td>(.*?)</td>",
        answer.text,
        re.S,
    )
    assert [tuple(html.unescape(cell) for cell in row) for row in rows] == [
        (exposure.what, exposure.access.value, exposure.why) for exposure in EXPOSURES
    ]
