"""Restoring past instants from the replica: each copy has the rates that `as_of` returns for its instant.

FX_TESTS_INSTANTS is their number.
"""

import asyncio
import datetime as dt
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fx_pipeline.clock import instant_text, utc_now
from fx_pipeline.quality.integrity import findings
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.sources import fetch_replica
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fixer_days import day_of
from fx_pipeline_tests.object_store import ObjectStore
from fx_pipeline_tests.replication.replicating import Replicating, replicating
from fx_pipeline_tests.seeds import seeded_random
from fx_pipeline_tests.served import served
from fx_pipeline_tests.waiting import wait_for

INSTANTS = int(os.environ.get("FX_TESTS_INSTANTS", "3"))
DAYS = [dt.date(2024, 5, 1) + dt.timedelta(number) for number in range(6)]
RANGE = f"/rates/{DAYS[0]}..{DAYS[-1]}.csv"


def store_and_revise(database: Path, chance: random.Random) -> None:
    """Store some days, new ones or revised ones, in one or more transactions."""
    with RateStore(database) as store:
        for _ in range(chance.randint(1, 3)):
            days = chance.sample(DAYS, chance.randint(1, 3))
            rates = {"USD": chance.uniform(1, 2), "JPY": chance.uniform(100, 200)}
            store.record([day_of(day, rates) for day in days])


def when_replicated(running: Replicating) -> dt.datetime:
    """Wait until everything that is committed now is in the replica, and return the instant."""
    committed = utc_now()
    wait_for(
        running.state,
        lambda state: (
            state and state.confirmed_at and dt.datetime.fromisoformat(state.confirmed_at) > committed
        ),
    )
    return utc_now()


async def rates_of(database: Path, instants: Sequence[dt.datetime | None]) -> list[str]:
    """Return the rates as known at each instant, None for now, as the API sends them."""
    async with served(database) as client:
        return [
            (await client.get(RANGE, params={"as_of": instant_text(instant)} if instant else {})).text
            for instant in instants
        ]


@pytest.mark.parametrize("scheme", ["file", "s3"])
def test_a_restored_instant_has_the_rates_that_were_known_then(
    scheme: str, store: ObjectStore, tmp_path: Path
) -> None:
    chance = seeded_random()
    database = tmp_path / "fx.db"
    url = f"file://{tmp_path}/replica" if scheme == "file" else store.url("instants")
    instants: list[dt.datetime] = []
    with replicating(database, url) as running:
        for _ in range(INSTANTS):
            store_and_revise(database, chance)
            begin = when_replicated(running)
            time.sleep(chance.uniform(0.05, 0.5))
            instants.append(begin + chance.random() * (utc_now() - begin))
        store_and_revise(database, chance)
        when_replicated(running)
    replica = ReplicaAddress.parse(url)
    for number, instant in enumerate(instants):
        folder = tmp_path / str(number)
        folder.mkdir()
        fetch_replica(replica, database.name, folder, instant)
    known = asyncio.run(rates_of(database, instants))
    assert len({*known}) == INSTANTS
    for number, expected in enumerate(known):
        assert asyncio.run(rates_of(tmp_path / str(number) / "fx.db", [None])) == [expected]
        assert findings(tmp_path / str(number) / "fx.db") == []
