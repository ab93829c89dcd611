"""Dagster's daemon, with the arguments of `dagster-daemon`, for a code server that runs already."""

from fx_pipeline.dagster_internals import run_daemon

if __name__ == "__main__":
    run_daemon()
