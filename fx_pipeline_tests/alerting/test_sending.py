"""Addresses of alerts: mistakes in them, and the command that tests them. No output contains a secret."""

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from fx_pipeline.alerting.messages import RUNBOOK
from fx_pipeline.alerting.sending import check_addresses
from fx_pipeline.commands.cli import main
from fx_pipeline.settings import SettingsError
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.inbox import TOKEN, open_inbox
from fx_pipeline_tests.processes.running_up import reserved

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

GOOD = f"json://example.org/{TOKEN}"
LISTED = ": https://github.com/caronc/apprise lists them."
WEB = (
    ": a plain web address. For a webhook that accepts JSON, write {}:// instead of {}://. Services have "
    "schemes of their own: https://github.com/caronc/apprise lists them."
)
MISTAKES = [
    (f"slck://{TOKEN}", ". Did you mean slack://?"),
    (f"mailtoo://user:{TOKEN}@example.org", ". Did you mean mailto://?"),
    (f"slack://{TOKEN}", ": it starts with slack://, but the rest is wrong."),
    ("json://", ": it starts with json://, but the rest is wrong."),
    (TOKEN, LISTED),
    (f"file://{TOKEN}", LISTED),
    (f"https://hooks.example.org/{TOKEN}", WEB.format("jsons", "https")),
    (f"HTTP://hooks.example.org/{TOKEN}", WEB.format("json", "http")),
    (f"{TOKEN}://{TOKEN}", LISTED),
]


@pytest.mark.parametrize(("url", "mistake"), MISTAKES)
def test_a_mistake_is_named_without_the_address(
    url: str, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SettingsError) as caught:
        check_addresses([SecretStr(GOOD), SecretStr(url)])
    assert str(caught.value) == f"FX_ALERT_URLS, entry 2: not a URL that Apprise supports{mistake}"
    assert TOKEN not in str(caught.value) + caplog.text


def test_correct_addresses_are_accepted() -> None:
    check_addresses(
        [SecretStr(GOOD), SecretStr(f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/{TOKEN}")]
    )


def test_up_refuses_a_mistake_before_it_starts_anything(tmp_path: Path) -> None:
    with reserved() as ports:
        done = run_command(tmp_path, "up", FX_ALERT_URLS=f"{GOOD} slck://{TOKEN}", **ports)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: FX_ALERT_URLS, entry 2: not a URL that Apprise supports. Did you mean slack://?\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_test_message_is_sent_to_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_inbox() as inbox, open_inbox() as broken:
        broken.closed = True
        addresses = [inbox.url, broken.url, f"json://127.0.0.1:9/{TOKEN}", f"slck://{TOKEN}"]
        monkeypatch.setenv("FX_ALERT_URLS", " ".join(addresses))
        result = CliRunner().invoke(main, ["alert-test"])
        assert (result.exit_code, result.output.splitlines()) == (
            1,
            [
                "FX_ALERT_URLS, entry 1 (JSON): accepted",
                "FX_ALERT_URLS, entry 2 (JSON): the alert was not accepted (HTTP status 503)",
                "FX_ALERT_URLS, entry 3 (JSON): the alert was not accepted (no connection)",
                "FX_ALERT_URLS, entry 4: not a URL that Apprise supports. Did you mean slack://?",
            ],
        )
        [message] = inbox.received
        assert (message["title"], message["type"]) == ("fx-pipeline: test", "info")
        said = message["message"]
        assert said.startswith("This is a test by `fx-pipeline alert-test`. Nothing failed.\n\nMeaning: ")
        assert said.endswith(f"\nRunbook: {RUNBOOK}\nhttp://127.0.0.1:3000")
        monkeypatch.setenv("FX_ALERT_URLS", inbox.url)
        result = CliRunner().invoke(main, ["alert-test"])
        assert (result.exit_code, result.output) == (0, "FX_ALERT_URLS, entry 1 (JSON): accepted\n")


def test_without_an_address_there_is_nothing_to_test() -> None:
    result = CliRunner().invoke(main, ["alert-test"])
    assert result.exit_code == 2
    assert "FX_ALERT_URLS is not set" in result.output
