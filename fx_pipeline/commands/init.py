"""The command `init`."""

import os
from pathlib import Path

import click

from fx_pipeline.settings import PROJECT


@click.command()
def init() -> None:
    """Write all settings, commented out, to `.env` in this folder. An existing one is kept."""
    path = Path(".env").absolute()
    text = (PROJECT / ".env.example").read_bytes()
    try:
        # It will hold the key, so only its owner may read it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(
            f"{path} exists already and was not changed. To start again, rename it first."
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
    except OSError as error:
        path.unlink()
        raise _unwritable(path, error) from None
    click.echo(f"All settings are in {path}, commented out. Set FIXER_ACCESS_KEY there, if you have a key.")
    click.echo("Then run `fx-pipeline up` in this folder.")


def _unwritable(path: Path, error: OSError) -> click.ClickException:
    return click.ClickException(
        f"{path} cannot be written ({error.strerror}): run this in a folder that you may write to."
    )
