"""What the commands about tokens say, from the first token to the last."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fx_pipeline.commands.cli import main
from fx_pipeline.following import folder_of
from fx_pipeline.store.database import open_database


def test_the_token_commands(tmp_path: Path) -> None:
    def run(*arguments: str, **more: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["token", *arguments], env={"FX_DATABASE": "fx.db", **more})
        place, _, said = done.stderr.partition("\n")
        assert place == f"Database {tmp_path}/fx.db, tokens {tmp_path}/tokens.db."
        return done.exit_code, done.stdout, said

    open_database(tmp_path / "fx.db").close()
    assert run("list") == (0, "", "No token is valid: the API is open to everyone.\n")
    assert run("list", FX_REQUIRE_TOKEN="1") == (0, "", "No token is valid: the API refuses every request.\n")
    assert not (tmp_path / "tokens.db").exists()

    code, token, said = run("create", "reports")
    assert (code, re.fullmatch(r"fxp_[A-Za-z0-9_-]{43}\n", token) is not None) == (0, True)
    assert said == (
        "This is the token of reports. Only its hash is stored, so it cannot be shown again.\n"
        "It is the first one: from now on the API requires a token.\n"
    )
    assert run("create", "reports") == (
        1,
        "",
        "Error: There is already a valid token named reports: revoke it first, or choose another name.\n",
    )
    assert run("create", "b")[2].count("\n") == 1
    _, listed, said = run("list")
    assert said == ""
    assert [line.split()[0] for line in listed.splitlines()] == ["reports", "b"]
    assert token.strip() not in listed
    assert run("revoke", "b") == (0, "", "The token of b is revoked.\n")
    assert run("revoke", "b") == (
        1,
        "",
        "Error: There is no valid token named b: `fx-pipeline token list` lists the tokens.\n",
    )
    assert run("revoke", "reports") == (
        0,
        "",
        "The token of reports is revoked.\n"
        "It was the last one, so the API now refuses every request. `fx-pipeline token create` creates "
        "another one. `fx-pipeline token off` opens the API to everyone.\n",
    )
    assert run("list")[2] == "No token is valid: the API refuses every request.\n"
    assert run("off") == (0, "", "2 tokens were deleted.\nThe API is open to everyone.\n")
    assert run("list", "--json") == (0, "[]\n", "")
    assert run("off", FX_REQUIRE_TOKEN="1") == (
        0,
        "",
        "0 tokens were deleted.\n"
        "FX_REQUIRE_TOKEN is set, so the API still requires a token, and there are none.\n",
    )


@pytest.mark.parametrize("kind", ["writer", "reader", "single"])
def test_where_readers_may_be_the_list_says_whose_requests_it_shows(tmp_path: Path, kind: str) -> None:
    database = tmp_path / "fx.db"
    open_database(database).close()
    environment = {"FX_DATABASE": str(database)}
    assert CliRunner().invoke(main, ["token", "create", "a"], env=environment).exit_code == 0
    if kind == "writer":
        environment["FX_REPLICA_URL"] = f"file://{tmp_path}/replica"
    if kind == "reader":
        folder_of(database).mkdir()
    done = CliRunner().invoke(main, ["token", "list"], env=environment)
    assert done.exit_code == 0
    assert done.stdout.startswith("a  created ")
    note = "These are the requests to this machine: the writer and each reader count their own."
    assert (note in done.stderr) == (kind != "single")
