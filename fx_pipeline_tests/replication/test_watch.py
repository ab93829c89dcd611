"""When replication counts as failed."""

from fx_pipeline.replication.watch import BEHIND, ENDS, ENDS_WITHIN, Position, Watch


def test_is_behind_only_if_commits_stay_out_of_the_store() -> None:
    watch = Watch(["fx.db"], 0)
    for now in range(0, 300, 5):
        # Under load, the newest commit is never in the store yet, but the one of the last look is.
        watch.see(now, {"fx.db": Position(now + 5, now)})
        assert watch.fault(now) is None
    assert watch.confirmed() == 290
    watch.see(300, {"fx.db": Position(305, 290)})
    assert watch.fault(290 + BEHIND) is None
    assert watch.fault(290 + BEHIND + 1) is not None
    watch.see(330, {"fx.db": Position(305, 305)})
    assert watch.fault(330) is None


def test_an_idle_database_that_is_in_the_store_is_not_behind() -> None:
    watch = Watch(["fx.db", "tokens.db"], 0)
    watch.see(100, {"fx.db": Position(7, 7), "tokens.db": Position(0, 0)})
    assert watch.fault(100) is None
    assert watch.positions == {"fx.db": 7, "tokens.db": 0}


def test_one_file_without_an_answer_is_a_fault() -> None:
    watch = Watch(["fx.db", "tokens.db"], 0)
    watch.see(BEHIND + 1, {"fx.db": Position(7, 7)})
    assert watch.fault(BEHIND + 1) is not None


def test_positions_that_begin_again_are_followed() -> None:
    watch = Watch(["fx.db"], 0)
    watch.see(1, {"fx.db": Position(100, 100)})
    watch.see(2, {"fx.db": Position(3, 3)})
    assert watch.confirmed() == 2


def test_ending_often_is_a_fault_for_a_while() -> None:
    watch = Watch(["fx.db"], 0)
    for now in range(ENDS):
        assert watch.fault(now) is None
        watch.saw_end(now)
    assert watch.fault(ENDS) == f"Litestream has ended {ENDS} times within {ENDS} s"
    watch.see(ENDS_WITHIN, {"fx.db": Position(1, 1)})
    assert watch.fault(ENDS_WITHIN) is None
