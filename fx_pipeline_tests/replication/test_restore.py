"""Restoring from the replica: past instants, generations, and hosts that take over from each other."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fx_pipeline.commands.access import Access
from fx_pipeline.commands.cli import main
from fx_pipeline.processes.ending import FINAL
from fx_pipeline.replication import fencing, litestream
from fx_pipeline.replication.addresses import ReplicaAddress, require_replica
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fixer_days import day_of
from fx_pipeline_tests.object_store import ObjectStore, running_sftp
from fx_pipeline_tests.stored import stored_dates

FIRST = dt.date(2024, 5, 1)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def succeeds(*arguments: object) -> str:
    code, output = run(*arguments)
    assert code == 0, output
    return output


class Host:
    """A machine with a database of its own and the common replica."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = folder / "fx.db"
        self._settings = {
            "FX_DATABASE": str(self.database),
            "DAGSTER_HOME": str(folder / "dagster"),
            "FX_REPLICA_URL": url,
        }
        self._monkeypatch = monkeypatch

    def use(self) -> "Host":
        """Make the settings of this host those of this process."""
        for name, value in self._settings.items():
            self._monkeypatch.setenv(name, value)
        return self

    def store(self, number: int) -> None:
        with RateStore(self.database) as store:
            store.record([day_of(FIRST + dt.timedelta(number), {"USD": 1 + number / 100})])

    def replicate(self) -> None:
        """Bring every commit into the replica, as its writer."""
        replica = require_replica(load_settings())
        own = fencing.require_writer(replica, self.database)
        for path in (self.database, self.database.with_name("tokens.db")):
            if path.exists():
                litestream.replicate_once(own.address(replica).of(path.name), path)

    def days(self) -> int:
        return len(stored_dates(self.database))


def two_hosts(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, Host]:
    """Return two hosts with the same replica. The first one writes, and has replicated one day."""
    first, second = (Host(folder / name, url, monkeypatch) for name in ("first", "second"))
    first.use().store(0)
    first.replicate()
    return first, second


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, Host]:
    return two_hosts(tmp_path, f"file://{tmp_path}/replica", monkeypatch)


@pytest.fixture(params=["file", "s3", "sftp"])
def url(request: pytest.FixtureRequest, store: ObjectStore, tmp_path: Path) -> Iterator[str]:
    """Return an address for a replica in each kind of store for which there is a server."""
    if request.param == "sftp":
        with running_sftp(tmp_path / "sftp") as url:
            yield url
    else:
        yield f"file://{tmp_path}/replica" if request.param == "file" else store.url(tmp_path.name)


def test_fails_over_to_another_host_and_refuses_the_old_one(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_hosts(tmp_path, url, monkeypatch)
    first.store(1)
    first.replicate()
    second.use()
    code, output = run("up")
    assert (code, "Another host writes" in output) == (FINAL, True)
    code, output = run("restore")
    assert (code, second.database.exists()) == (1, False)
    assert "Another host writes" in output and "--take-over" in output
    succeeds("restore", "--take-over")
    second.store(2)
    second.replicate()
    assert second.days() == 3

    first.use()
    first.store(10)  # until it notices
    with pytest.raises(fencing.SupersededError, match="This host must not write any longer"):
        first.replicate()
    with pytest.raises(StoreError, match="Another host has taken over"):
        first.store(11)
    code, output = run("rebuild")
    assert (code, "Another host has taken over" in output) == (1, True)

    succeeds("restore", "--take-over", "--force")
    assert first.days() == 3
    first.store(3)
    first.replicate()
    second.use()
    with pytest.raises(fencing.SupersededError):
        second.replicate()


def test_the_writer_goes_back_and_begins_a_new_history(hosts: tuple[Host, Host]) -> None:
    first, _ = hosts
    time.sleep(1.1)  # Litestream lists instants in whole seconds
    before = dt.datetime.now(dt.timezone.utc)
    first.store(1)
    first.replicate()
    succeeds("restore", "--force", "--at", before.isoformat())
    assert first.days() == 1
    first.store(2)
    first.replicate()
    copy = first.database.with_name("copy.db")
    succeeds("restore", "--to", copy)
    assert stored_dates(copy) == {"2024-05-01", "2024-05-03"}
    assert fencing.newest(require_replica(load_settings())) == 2


def test_finds_the_generation_of_an_instant(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    time.sleep(1.1)
    before = dt.datetime.now(dt.timezone.utc)
    first.store(1)
    first.replicate()
    second.use()
    succeeds("restore", "--take-over")
    second.store(2)
    second.replicate()
    copy = second.database.with_name("copy.db")
    succeeds("restore", "--to", copy, "--at", before.isoformat())
    assert len(stored_dates(copy)) == 1
    code, output = run("restore", "--to", copy, "--force", "--at", "2024-01-01")
    assert (code, "begins at" in output) == (1, True)


def test_takes_the_data_of_an_earlier_generation_if_the_newest_has_none(hosts: tuple[Host, Host]) -> None:
    _, second = hosts
    second.use()
    fencing.claim(require_replica(load_settings()), 2)  # by a host that was lost then
    succeeds("restore", "--take-over")
    assert second.days() == 1
    assert fencing.newest(require_replica(load_settings())) == 3


def test_a_revoked_token_stays_revoked_at_a_past_instant(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    access = Access(load_settings())
    access.create("partner")
    first.replicate()
    time.sleep(1.1)
    before = dt.datetime.now(dt.timezone.utc)
    access.revoke("partner")
    first.replicate()
    second.use()
    succeeds("restore", "--take-over", "--at", before.isoformat())
    state = Access(load_settings()).state()
    assert (state.mode, state.valid) == ("tokens", 0)


def test_two_hosts_that_claim_together_do_not_both_write(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    replica = require_replica(load_settings())
    for host in hosts:
        fencing.record(replica, host.database, fencing.claim(replica, 2))
    fencing.require_writer(replica, hosts[1].database)
    with pytest.raises(fencing.SupersededError):
        fencing.require_writer(replica, hosts[0].database)


def test_another_replica_begins_with_the_first_generation(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    other = ReplicaAddress.parse(f"file://{tmp_path}/other")
    assert fencing.require_writer(other, hosts[0].database).number == 1


def test_restores_a_backup_in_an_object_store(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, store.url("unused"), monkeypatch).use()
    host.store(0)
    Access(load_settings()).create("partner")
    monkeypatch.delenv("FX_REPLICA_URL")
    output = succeeds("backup", store.url("backups"))
    made = output.splitlines()[-1].removeprefix("Backup ").rstrip(".")
    assert made.startswith("s3://fx/backups/20")
    succeeds("restore", store.url(made.removeprefix("s3://fx/")), "--force")
    assert host.days() == 1
    state = Access(load_settings()).state()
    assert (state.mode, state.valid) == ("tokens", 1)


def test_a_backup_that_is_given_as_an_address_of_a_folder(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    succeeds("backup", f"file://{tmp_path}/backups")
    copy = tmp_path / "copy.db"
    succeeds("restore", f"file://{tmp_path}/backups", "--to", copy)
    assert len(stored_dates(copy)) == 1
    copy.unlink()
    succeeds("restore", f"file://{tmp_path}/replica/1", "--to", copy)
    assert len(stored_dates(copy)) == 1
