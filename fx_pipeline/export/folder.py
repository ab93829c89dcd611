"""The folder of an export: files that are replaced as a whole, and the state of the last export."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

STATE = ".fx-pipeline-export"
"""The file with the state of the last complete export. It is written last, so a killed export is repeated."""

_UNFINISHED = ".fx-pipeline-unfinished"


class ExportError(Exception):
    """The folder cannot be used. The message says why and what to do, in one line."""


class Folder:
    """An export's folder, created if needed. Only one process writes to it. Counts what it does.

    Raises ExportError, as all its methods do, if the folder cannot be written or has other content.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = self.removed = 0
        self._root = os.fspath(path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other exports out of the folder."""
        with self._explained():
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._lock(descriptor)
            with self._explained():
                if not os.path.lexists(self._at(STATE)):
                    self._claim()
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(f"Another export is writing to {self.path}. Wait until it ends.") from None

    def _claim(self) -> None:
        if any(self.path.iterdir()):
            raise ExportError(
                f"{self.path} is not empty, and not an export of fx-pipeline. Choose a new folder."
            )
        self._replace(STATE, b"{}")

    def state(self) -> bytes:
        """Return the state that was saved last."""
        with self._explained():
            return self._read(STATE) or b""

    def save(self, state: bytes) -> None:
        """Replace the state."""
        with self._explained():
            self._replace(STATE, state)

    def put(self, name: str, content: bytes | None) -> None:
        """Write a file, unless it has this content already. None: the file must not exist."""
        with self._explained():
            if content is None:
                self._remove(name)
            elif self._read(name) != content:
                self._replace(name, content)
                self.written += 1

    def keep_only(self, names: Iterable[str], folders: Iterable[str]) -> None:
        """Remove all other files from these folders."""
        wanted = {self._at(name) for name in names}
        with self._explained():
            for folder in folders:
                for parent, _, files in os.walk(self._at(folder), topdown=False):
                    for file in files:
                        if (path := f"{parent}/{file}") not in wanted:
                            os.unlink(path)  # noqa: PTH108  # Path takes longer than the call, as below
                            self.removed += 1
                    with contextlib.suppress(OSError):  # it is not empty
                        os.rmdir(parent)  # noqa: PTH106

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _read(self, name: str) -> bytes | None:
        try:
            descriptor = os.open(self._at(name), os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def _replace(self, name: str, content: bytes) -> None:
        """Write next to all files, then rename: a reader sees the old content or the new one."""
        unfinished, path = self._at(_UNFINISHED), self._at(name)
        with open(unfinished, "wb") as file:  # noqa: PTH123
            file.write(content)
        try:
            os.replace(unfinished, path)  # noqa: PTH105
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            os.replace(unfinished, path)  # noqa: PTH105

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name))  # noqa: PTH108
            self.removed += 1

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ExportError(
                f"{self.path} cannot be written ({error.strerror}). Free some space or give this user "
                "permission, and export again."
            ) from error
