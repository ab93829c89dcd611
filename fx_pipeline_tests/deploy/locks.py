"""The lock files: which version of each package they pin."""

import re

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from fx_pipeline.settings import PROJECT

LOCKS = tuple(sorted(path.name for path in PROJECT.glob("requirements*.lock")))

DEVELOPMENT = "requirements-dev.lock"
"""The lock with every package."""

API = "requirements-api.lock"

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.+?))? \\$", re.MULTILINE)


def text_of(lock: str) -> str:
    """Return the text of a lock file."""
    return (PROJECT / lock).read_text(encoding="utf-8")


def pins(lock: str, python: str) -> dict[str, str]:
    """Return the version of each package that a lock file installs on Linux."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    return {
        canonicalize_name(name): version
        for name, version, marker in _PIN.findall(text_of(lock))
        if not marker or Marker(marker).evaluate(environment)
    }
