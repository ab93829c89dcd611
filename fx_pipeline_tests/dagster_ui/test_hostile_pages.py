"""A hostile page in a real browser does not change Dagster's state."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from fx_pipeline_tests.dagster_ui.attacks import ATTACKS, attack
from fx_pipeline_tests.dagster_ui.conftest import FOREIGN
from fx_pipeline_tests.dagster_ui.server import UI, serving_ui

SITES = [FOREIGN, *(pytest.param(name, marks=pytest.mark.slow) for name in ("localhost", "127.0.0.1"))]
"""Host names of the hostile page: another one, and two that differ from the UI's only by the port."""

HARMLESS_BY_ITSELF = {
    "a frame",
    "a form by GET",
    "a form of plain text",
    "the form that fetches a day",
    "JSON",
    "a websocket",
}
"""Attacks that fail even without the guard: Dagster itself has no such form, for example."""


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_page_of_another_site_changes_nothing(
    page: Page, ui: UI, elsewhere: int, name: str, site: str
) -> None:
    page.goto(f"http://{site}:{elsewhere}/")
    before = ui.state()
    learned = attack(page, name, ui.url, "hostile")
    assert ui.state() == before
    assert learned in ("loaded", "error", "opaque", "closed", "TypeError")
    [request, *_] = [line for line in ui.log.read_text().splitlines() if line.startswith("Refused")][-1:]
    assert "comes from a page of" in request


@pytest.mark.parametrize("name", ATTACKS)
def test_a_page_whose_name_was_rebound_changes_nothing(page: Page, ui: UI, name: str) -> None:
    own = f"http://{FOREIGN}:{ui.port}"
    # Before the name was switched, the page would have come from another server.
    page.goto(f"{own}/")
    before = ui.state()
    learned = attack(page, name, own, "hostile")
    assert ui.state() == before
    assert "data" not in learned
    refused = [line for line in ui.log.read_text().splitlines() if line.startswith("Refused")]
    assert f"'{FOREIGN}:{ui.port}' is not a name of this server" in refused[-1]


@pytest.mark.slow
def test_without_the_guard_the_same_attacks_succeed(page: Page, elsewhere: int, tmp_path: Path) -> None:
    succeeded = set()
    with serving_ui(tmp_path, guarded=False) as ui:
        for number, name in enumerate(ATTACKS):
            page.goto(f"http://{FOREIGN}:{elsewhere}/")
            before = ui.state()
            attack(page, name, ui.url, f"hostile{number}")
            if ui.state() != before:
                succeeded.add(name)
    assert succeeded == set(ATTACKS) - HARMLESS_BY_ITSELF


def test_a_page_of_another_site_cannot_show_the_ui_in_a_frame(page: Page, ui: UI, elsewhere: int) -> None:
    page.goto(f"http://{FOREIGN}:{elsewhere}/")
    page.evaluate(
        """url => new Promise(done => {
            const frame = document.createElement('iframe');
            frame.src = url;
            frame.onload = done;
            document.body.append(frame);
        })""",
        f"{ui.url}/assets",
    )
    [frame] = page.main_frame.child_frames
    frame.wait_for_url("chrome-error:**")  # the test may learn of it later than the page
