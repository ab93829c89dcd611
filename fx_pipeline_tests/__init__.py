"""The tests. Their folders mirror those of `fx_pipeline`.

`make test` runs all except the slow ones; its last line counts what was skipped. `make test-all` runs all.
A test is slow (`@pytest.mark.slow`) if it needs several seconds of CPU time that cannot be saved: it starts
Dagster, `fx-pipeline up` or `fx-pipeline ingest`, or examines decades of rates.

    api/ commands/ dagster_ui/ defs/ fixer/ ...  one part of the product
    pages/                                       the pages in a real Chromium
    proofs/                                      promises about the whole: kills, outages, faults, secrets
    test_end_to_end.py                           from the provider to the API

Modules without `test_` are shared by tests; no test module imports another one:

    sandbox_server   Fixer, faked: the product's own sandbox, in a thread
    command_line     the `fx-pipeline` command, in a process
    api.server       `fx-pipeline serve`; processes.running_up: `fx-pipeline up`
    api.history      a database file whose fetches have chosen instants
    fetches, stored  what goes into a database file, and what is in it
    waiting          the only place that waits for a condition, with one generous time limit
    snippets         the examples in the documents
    ports, seeds     free ports; random choices that can be repeated

Every test gets three things from `conftest.py`. The working directory is an empty folder, so that a relative
path such as `fx.db` is safe. No setting comes from the environment or from `.env`. A test fails if a process
that it started still runs when it ends.

To add a test, open the file that is named after the module, and name the test after one behaviour. Set up its
state through the product (RateStore, the sandbox, a command), and compare whole results. The machine may be
busy, so never sleep and never assert a duration: make the event happen, and wait for it with `wait_for`. Give
a fixture module or session scope if its tests only read it.
"""
