"""Dagster's configuration: the file `dagster.yaml` in its home. Ours is replaced, a changed one is kept."""

import re
from hashlib import sha256
from pathlib import Path

from fx_pipeline.settings import PROJECT, SettingsError
from fx_pipeline.small_files import replace_text

_FIRST_LINE = "# Written by fx-pipeline, which keeps this file if you change it. SHA-256 of the rest: {}\n"

POSTGRES = """
# Runs, events and schedules are in PostgreSQL. The output of runs goes to that of the code server: another
# machine could not show files of this one.
storage:
  postgres:
    postgres_url:
      env: FX_DAGSTER_POSTGRES_URL
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""

_WITHOUT_FIRST_LINE = {
    "cbf311aa09eb30e761fda0ee18bea048fd45b84761b5e3cf57769b24fb9d8f16",
    "c65b977a6289cbc554a1733e7486934fd282f0f3041b3074e65f86d28f7abe65",
    "ee81dd8a2ad251adb6d29a19d27070ebe412c1241fa787d27626c00e2edf7c98",
    "1fbce4eb03cb844dbdd0b013f106b5395e98f0c61c731f0bbb65c7e4d6248612",
    "a038b9aa5e3e879addbc3ab27bfe9e4ea24c0ccfaeb417a358c86cbfa344d580",
}
"""SHA-256 of each file that earlier versions wrote."""


def file_in(home: Path) -> Path:
    """Return the file."""
    return home / "dagster.yaml"


def write_file(home: Path, *, postgres: bool) -> None:
    """Write our file in one step, for storage in PostgreSQL or in the home. Keep a file that is not ours.

    Raise OSError, or SettingsError if the file contradicts the settings.
    """
    if reason := contradiction(home, postgres=postgres):
        raise SettingsError(reason)
    file, wanted = file_in(home), _ours(postgres=postgres)
    found = file.read_bytes() if file.exists() else None
    if found is None or (_is_ours(found) and found != wanted):
        replace_text(file, wanted.decode())  # a daemon may be reading the file


def contradiction(home: Path, *, postgres: bool) -> str | None:
    """Return why the file in the home contradicts the settings, and what to do; None if it does not.

    Raise OSError.
    """
    file = file_in(home)
    found = file.read_bytes() if file.exists() else None
    if found is None:
        return None
    if not postgres and _uses_url(found):
        # Also where the file is ours: a shell without the setting would split the runs over two storages.
        return (
            f"{file} uses FX_DAGSTER_POSTGRES_URL, which is not set: set it to the database's address, or "
            "remove the file to keep the runs in the home."
        )
    if postgres and not _is_ours(found) and not _uses_url(found):
        return (
            f"FX_DAGSTER_POSTGRES_URL is set, but {file} was changed and does not use it: add `storage: "
            "{postgres: {postgres_url: {env: FX_DAGSTER_POSTGRES_URL}}}` there, or unset it."
        )
    return None


def kept_file(home: Path) -> str | None:
    """Return a line for the operator if the home has a file that is not ours, else None."""
    file = file_in(home)
    try:
        if not file.exists() or _is_ours(file.read_bytes()):
            return None
    except OSError:  # whoever opens the home reports it
        return None
    return f"{file} was changed, so it is kept. Compare it with {PROJECT / file.name} after an upgrade."


def _uses_url(content: bytes) -> bool:
    """Return whether the file reads FX_DAGSTER_POSTGRES_URL, other than in a comment."""
    return b"FX_DAGSTER_POSTGRES_URL" in re.sub(rb"(?m)(^|\s)#.*", b"", content)


def _ours(*, postgres: bool) -> bytes:
    rest = file_in(PROJECT).read_bytes() + (POSTGRES.encode() if postgres else b"")
    return _FIRST_LINE.format(sha256(rest).hexdigest()).encode() + rest


def _is_ours(content: bytes) -> bool:
    first, _, rest = content.partition(b"\n")
    return (
        first == _FIRST_LINE.format(sha256(rest).hexdigest()).encode().rstrip()
        or sha256(content).hexdigest() in _WITHOUT_FIRST_LINE
    )
