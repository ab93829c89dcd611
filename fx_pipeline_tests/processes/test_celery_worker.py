"""The log of a Celery worker whose broker is in its own memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fx_pipeline_tests.command_line import environment
from fx_pipeline_tests.waiting import PATIENCE, wait_for

LAUNCHER = """
run_launcher:
  module: dagster_celery.launcher
  class: CeleryRunLauncher
  config: {broker: "memory://", backend: "cache+memory://"}
"""


@pytest.mark.slow
def test_logs_json(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(LAUNCHER)
    log = tmp_path / "log"
    worker = [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "--app",
        "fx_pipeline.processes.celery_worker",
        "worker",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*worker, "--pool", "solo", "--loglevel", "info"],
            cwd=tmp_path,
            env=environment(DAGSTER_HOME=str(tmp_path), FX_LOG_FORMAT="json"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: process.poll() is not None or " ready." in log.read_text())
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["level"] for line in lines if line["message"].endswith(" ready.")] == ["INFO"]
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
