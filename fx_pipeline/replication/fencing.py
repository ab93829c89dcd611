"""Which host may write: each writer has its own part of the replica, and a newer writer supersedes it.

A writer that returns after another took over would silently overwrite the history of the new one, if both
wrote to the same place. So the replica of the first writer is in `<FX_REPLICA_URL>/1`, that of the second in
`/2`, and so on: its generations. A generation is claimed by a marker, `writers/<number>` in the store. The
marker is a database of one row, because Litestream reads and writes every kind of store, and nothing but
databases. A writer remembers its claim in a file next to its database, and refuses to write if the store has
a newer marker.
"""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from fx_pipeline.clock import instant_text, parse_instant, utc_now
from fx_pipeline.replication import litestream
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.writer import read_record, refusal, write_record

TIMEOUT = 15.0
"""Seconds that each request about a marker may take."""


class SupersededError(StoreError):
    """Another host writes now. The message is one line that names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A generation of the replica, and its writer: a random id, the name of its host, and since when."""

    number: int
    id: str
    host: str
    since: str

    def address(self, replica: ReplicaAddress) -> ReplicaAddress:
        """Return the address of this generation; `of` returns that of a file in it."""
        return replica.of(str(self.number))

    def __str__(self) -> str:
        """Return the writer, for messages."""
        return f"{self.host}, since {parse_instant(self.since):%Y-%m-%d %H:%M:%S} UTC"


def require_writer(replica: ReplicaAddress, database: Path) -> Claim:
    """Return the generation that this host writes. If the replica has none, claim the first.

    Raise SupersededError if another host writes, LitestreamError if the store cannot be used.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    # `up` and `replicate` start at the same time.
    with FileLock(f"{database}-writer.lock"):
        return _require_writer(replica, database)


def require_current(replica: ReplicaAddress, database: Path, own: Claim) -> None:
    """Raise SupersededError if another host has taken over. One request to the store, unless one has.

    From then on, no process of this host can open the database for writing. Raise LitestreamError if the
    store cannot be used.
    """
    number = newest(replica, after=own.number)
    if number > own.number:
        raise _superseded(replica, database, own, claim_of(replica, number))


def newest(replica: ReplicaAddress, *, after: int = 0) -> int:
    """Return the number of the newest generation, 0 if there is none. `after` is one that is known."""
    number = after
    while _is_marked(replica, number + 1):
        number += 1
    return number


@contextmanager
def taking_over(replica: ReplicaAddress, database: Path, *, wanted: bool) -> Iterator[Callable[[], None]]:
    """Yield a function that claims the next generation. Remember the claim if the block succeeds.

    The other host is superseded as soon as it is called. Raise StoreError if another host writes and its loss
    is not confirmed by `wanted`, LitestreamError if the store cannot be used.
    """
    number, own = newest(replica), recorded(replica, database)
    if number and not wanted and (own is None or own.number < number):
        raise StoreError(
            f"Another host writes to the replica {replica}: {claim_of(replica, number)}. If it is lost, add "
            "--take-over to write here: that host then no longer can. To restore a copy only, add --to PATH."
        )
    claims: list[Claim] = []
    yield lambda: claims.append(claim(replica, number + 1))
    for new in claims:
        record(replica, database, new)


def claim(replica: ReplicaAddress, number: int) -> Claim:
    """Claim a generation that is not claimed yet. Raise StoreError if another host was faster."""
    own = Claim(number, secrets.token_hex(8), socket.gethostname(), instant_text(utc_now()))
    _mark(replica, own)
    found = claim_of(replica, number)
    if found.id != own.id:
        raise StoreError(f"At the same moment, another host took over: {found}. Decide which one writes.")
    return own


def claim_of(replica: ReplicaAddress, number: int) -> Claim:
    """Return the claim in a marker. Raise LitestreamError."""
    with TemporaryDirectory(prefix=litestream.PREFIX) as folder:
        file = Path(folder) / "writer.db"
        litestream.restore(marker(replica, number), file, timeout=TIMEOUT)
        with closing(sqlite3.connect(file)) as connection:
            row = connection.execute("SELECT number, id, host, since FROM writer").fetchone()
    return Claim(*row)


def recorded(replica: ReplicaAddress, database: Path) -> Claim | None:
    """Return the claim of this host on this replica, None if it has none."""
    document = read_record(database)
    try:
        return Claim(**document["claim"]) if document["replica"] == str(replica) else None
    except (KeyError, TypeError):
        return None


def record(replica: ReplicaAddress, database: Path, own: Claim) -> None:
    """Remember the claim of this host, next to its database. Raise OSError."""
    write_record(database, {"replica": str(replica), "claim": asdict(own)})


def marker(replica: ReplicaAddress, number: int) -> ReplicaAddress:
    """Return the address of the marker of a generation."""
    return replica.of(f"writers/{number}")


def _require_writer(replica: ReplicaAddress, database: Path) -> Claim:
    own = recorded(replica, database)
    if own and (reason := refusal(database)):
        raise SupersededError(reason)
    if own is None:
        if number := newest(replica):
            raise SupersededError(
                f"Another host writes to the replica {replica}: {claim_of(replica, number)}. If it is lost, "
                "write here with `fx-pipeline restore --take-over`; otherwise run `fx-pipeline "
                "replica` to serve a copy."
            )
        own = claim(replica, 1)
        record(replica, database, own)
    elif not _is_marked(replica, own.number):
        _mark(replica, own)  # the store was emptied
    require_current(replica, database, own)
    found = claim_of(replica, own.number)
    if found.id != own.id:  # both claimed it at the same moment
        raise _superseded(replica, database, own, found)
    return own


def _is_marked(replica: ReplicaAddress, number: int) -> bool:
    return bool(litestream.replica_files(marker(replica, number), level=0, timeout=TIMEOUT))


def _mark(replica: ReplicaAddress, own: Claim) -> None:
    with TemporaryDirectory(prefix=litestream.PREFIX) as folder:
        file = Path(folder) / "writer.db"
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE writer (number INTEGER, id TEXT, host TEXT, since TEXT) STRICT")
            row = (own.number, own.id, own.host, own.since)
            connection.execute("INSERT INTO writer VALUES (?, ?, ?, ?)", row)
        litestream.replicate_once(marker(replica, own.number), file, timeout=TIMEOUT)


def _superseded(replica: ReplicaAddress, database: Path, own: Claim, by: Claim) -> SupersededError:
    message = (
        f"Another host has taken over the replica {replica}: {by}. This host must not write any longer. To "
        "serve a copy, run `fx-pipeline replica`. To write here again, run `fx-pipeline restore --take-over "
        "--force`."
    )
    write_record(database, {"replica": str(replica), "claim": asdict(own), "superseded": message})
    return SupersededError(message)
