from pathlib import Path

import pytest

from fx_pipeline.store.database import open_database, transaction
from fx_pipeline.wal import REPLICATED_PAGES


@pytest.mark.parametrize("is_replicated", [True, False])
def test_only_litestream_checkpoints_a_replicated_database(tmp_path: Path, is_replicated: bool) -> None:
    db = open_database(tmp_path / "fx.db")
    before = db.execute("PRAGMA wal_autocheckpoint").fetchone()
    if is_replicated:  # Litestream was started after the file was opened
        db.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
    with transaction(db):
        pass
    after = db.execute("PRAGMA wal_autocheckpoint").fetchone()
    db.close()
    assert not [*tmp_path.glob("*-commit-*")]
    assert before == (1000,)
    assert after == ((REPLICATED_PAGES,) if is_replicated else (1000,))
