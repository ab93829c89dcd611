"""The private folder of the counters of a server with several workers, in memory if there is such a disk."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

_PREFIX = "fx-pipeline-counters-"
_MEMORY = Path("/dev/shm")  # noqa: S108  # mkdtemp makes a private folder in it


@contextmanager
def run_folder(*, needed: bool) -> Iterator[Path | None]:
    """Yield a new folder, and remove it at the end. Yield None if it is not needed or cannot be made.

    Remove those of servers that were killed.
    """
    if not needed:
        yield None
        return
    parent = _parent()
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_if_unused(left)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        logger.warning("Each worker reports only its own requests at /-/metrics: %s.", error)
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _parent() -> Path:
    return _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())


def _remove_if_unused(folder: Path) -> None:
    """Remove the folder of a server that no longer runs. That of another user is left."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return  # in use
    finally:
        os.close(descriptor)
