"""Node.js, and the published JavaScript clients that `make clients` installs."""

import os
import shutil
from pathlib import Path

import pytest

CLIENTS = Path(__file__).with_name("clients")


def node() -> str:
    """Return the path of Node.js. Without it or the clients, skip the test; in CI, fail."""
    found = shutil.which("node")
    if found and (CLIENTS / "node_modules").is_dir():
        return found
    reason = f"needs Node.js, and the clients that `make clients` puts into {CLIENTS}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
