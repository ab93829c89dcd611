"""The page that says what is public says the truth: every path of it is asked for, by whom it speaks of."""

import html
import re

import pytest

from fx_pipeline.api.pages.exposure import EXPOSURES, Who
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.test_hardening import CLOSED, PATHS

CASES = [(path, exposure.who) for exposure in EXPOSURES for path in exposure.paths]
IDS = [path for path, _ in CASES]

LISTED = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
"""What an assistant asks first."""


async def is_read(api: Api, path: str, **headers: str) -> bool:
    """Whether this visitor is given what is there, and not refused."""
    if path == "/-/mcp":
        own = {"Accept": "application/json, text/event-stream", "Host": "localhost"}
        answer = await api.client.post(path, json=LISTED, headers={**own, **headers})
    else:
        answer = await api.get(path, **headers)
    assert answer.status_code in (200, 401, 403)
    return answer.status_code == 200


@pytest.mark.parametrize(("path", "who"), CASES, ids=IDS)
async def test_who_may_read_it(history: History, api: Api, path: str, who: Who) -> None:
    while_open = await is_read(api, path)
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    anonymous = await is_read(api, path)
    holder = await is_read(api, path, Authorization=f"Bearer {token}")
    expected = {
        Who.EVERYBODY: (True, True, True),
        Who.READERS: (True, False, True),
        Who.HOLDERS: (False, False, True),
        Who.NOBODY: (False, False, False),
    }[who]
    assert (while_open, anonymous, holder) == expected


def test_what_is_closed_is_on_the_page() -> None:
    """Each reason in the table of all paths has a row, by one of its paths."""
    shown = {path.rstrip("/") for path, _ in CASES}
    closed: dict[str, set[str]] = {}
    for path, answer, why in PATHS:
        if answer == CLOSED:
            closed.setdefault(why, set()).add(path)
    unsaid = {why for why, paths in closed.items() if not paths & shown}
    # Both are ways to rows of `fetches`.
    assert unsaid == {"bodies as they were received", "a closed table, asked through an open one"}


@pytest.mark.parametrize(
    ("required", "says"), [(False, "asks for no token now"), (True, "asks for a token.")]
)
async def test_the_page(history: History, api: Api, required: bool, says: str) -> None:
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
        (exposure.what, exposure.who.value, exposure.why) for exposure in EXPOSURES
    ]
