"""A static export, served by the nginx of the documentation."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fx_pipeline.export.folder import STATE
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.export.documented import NGINX, nginx_over
from fx_pipeline_tests.export.exporting import exported, tree
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for


@pytest.fixture
def site(history: History, tmp_path: Path) -> Iterator[str]:
    """Serve an export with the documented nginx, and return its address."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    exported(history, tmp_path / "site")
    with reserved_port() as port:
        command = nginx_over(tmp_path / "site", tmp_path / "nginx", port)
        with subprocess.Popen(command) as process:
            try:
                wait_for((tmp_path / "nginx" / "nginx.pid").exists)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                wait_until_gone(process)


def test_nginx_serves_each_file_as_the_api_does(site: str, tmp_path: Path) -> None:
    files = tree(tmp_path / "site")
    with requests.Session() as session:
        for path in ("rates/2024-06-01", "rates/latest", "history/USD/2024"):
            for slash in ("", "/"):
                response = session.get(f"{site}/{path}{slash}")
                assert (response.status_code, response.content) == (200, files[path])
                assert response.headers["Content-Type"] == "application/json; charset=utf-8"
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                assert response.headers["Cache-Control"] == "public, max-age=60"
        assert session.get(f"{site}/index.json").content == files["index.json"]
        for path in ("_headers", STATE, "rates/2024-06-02", "rates/", "rates", "history/USD/"):
            assert session.get(f"{site}/{path}").status_code == 404, path
