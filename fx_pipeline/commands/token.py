"""The commands about API tokens: `token create`, `list`, `revoke` and `off`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from fx_pipeline.commands.database import require_database
from fx_pipeline.commands.output import errors, print_files
from fx_pipeline.following import is_reader
from fx_pipeline.settings import load_settings

if TYPE_CHECKING:
    from fx_pipeline.commands.access import Access


@click.group()
def token() -> None:
    """Create, list and revoke API tokens.

    Once a token exists, the API requires a token from every client, even after the last one is revoked.
    `token off` makes the API open again.
    """


@token.command("create")
@click.argument("name")
def create_token(name: str) -> None:
    """Create a token and print it.

    Only its hash is stored, so it cannot be shown again.
    """
    with _access() as access:
        before = access.state()
        click.echo(access.create(name))
    errors.print(f"This is the token of {name}. Only its hash is stored, so it cannot be shown again.")
    if before.problem:
        errors.print("The existing tokens are trusted again. `fx-pipeline token list` shows them.")
    elif before.mode == "open":
        errors.print("It is the first one: from now on the API requires a token.")


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_tokens(as_json: bool) -> None:
    """Show all tokens, including revoked ones, and their use on this machine."""
    with _access() as access:
        records, access_state = access.records(), access.state()
    if as_json:
        click.echo(json.dumps([asdict(record) for record in records], indent=2))
        return
    width = max((len(record.name) for record in records), default=0)
    for record in records:
        state = f"revoked {record.revoked_at}" if record.revoked_at else "valid"
        last = f", last {record.last_used_at}" if record.last_used_at else ""
        created = f"created {record.created_at}  {state:<28}"
        click.echo(f"{record.name:<{width}}  {created}  {record.requests} requests{last}")
    settings = load_settings()
    if records and (settings.fx_replica_url or is_reader(settings.fx_database)):
        errors.print("These are the requests to this machine: the writer and each reader count their own.")
    if access_state.problem:
        errors.print(access_state.problem)
    elif not access_state.valid:
        consequence = "is open to everyone" if access_state.mode == "open" else "refuses every request"
        errors.print(f"No token is valid: the API {consequence}.")


@token.command("revoke")
@click.argument("name")
def revoke_token(name: str) -> None:
    """Revoke a token. Takes effect immediately in every worker."""
    with _access() as access:
        left = access.revoke(name)
    errors.print(f"The token of {name} is revoked.")
    if left == 0:
        errors.print(
            "It was the last one, so the API now refuses every request. `fx-pipeline token create` creates "
            "another one. `fx-pipeline token off` opens the API to everyone."
        )


@token.command("off")
def forget_tokens() -> None:
    """Delete all tokens and open the API again."""
    with _access() as access:
        count = access.off()
    errors.print(f"{count} {'token was' if count == 1 else 'tokens were'} deleted.")
    if load_settings().fx_require_token:
        errors.print("FX_REQUIRE_TOKEN is set, so the API still requires a token, and there are none.")
    else:
        errors.print("The API is open to everyone.")


@contextmanager
def _access() -> Iterator["Access"]:
    """Yield the tokens of the installation. Raise click's error if their files cannot be used."""
    from fx_pipeline.api.tokens.file import TokenError
    from fx_pipeline.commands.access import Access

    settings = load_settings()
    require_database(settings)
    access = Access(settings)
    print_files(f"Database {settings.fx_database}, tokens {settings.tokens_database}.")
    try:
        access.keep_mark()
        yield access
    except TokenError as error:
        raise click.ClickException(str(error)) from None
