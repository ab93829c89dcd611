"""The SQLite of the product loses no commit in forced races between a writer and checkpoints."""

import json
import os
import subprocess
import sys

import pytest

from fx_pipeline.sqlite import sqlite3, unsound

RACES = os.environ.get("FX_TESTS_RACES", "100")
"""How many. 10,000 take two minutes. SQLite 3.40.1 loses values in most of them."""


@pytest.mark.skipif(unsound() is not None, reason="the SQLite of this platform can lose commits")
def test_no_commit_is_lost_in_races_between_a_writer_and_checkpoints() -> None:
    command = [sys.executable, "-m", "fx_pipeline_tests.proofs.wal_races", RACES, sqlite3.__name__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert (result["lost"], result["integrity"]) == (0, "ok"), result
