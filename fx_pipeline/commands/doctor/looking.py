"""Makes all checks concurrently, each with its own limit, and returns their findings in order."""

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Thread

from fx_pipeline.commands.doctor.facts import Facts, NoDatabase
from fx_pipeline.commands.doctor.findings import Finding, fault, not_checked, of_message
from fx_pipeline.commands.doctor.subjects import Subject
from fx_pipeline.processes.instance_file import file_in
from fx_pipeline.settings import Settings, SettingsError
from fx_pipeline.store.database import StoreError


def looked_into(subjects: Sequence[Subject], facts: Facts) -> Iterator[Finding]:
    """Yield the findings of all subjects, in order."""
    began = time.monotonic()
    looks = [(subject, _Look(subject.look, facts)) for subject in subjects]
    for subject, look in looks:
        yield from look.findings(subject, max(0.0, began + subject.seconds - time.monotonic()))


def unchecked(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield that nothing could be checked, because the settings are invalid."""
    for subject in subjects:
        for check in subject.checks:
            yield not_checked(check, "the settings are invalid", "Correct the settings first.")


class _Look:
    """A function in a thread of its own, which is dropped at the end of the process if it still waits."""

    def __init__(self, look: Callable[[Facts], Iterable[Finding]], facts: Facts) -> None:
        self._look, self._facts = look, facts
        self._found: list[Finding] | Exception | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def findings(self, subject: Subject, seconds: float) -> Iterable[Finding]:
        """Wait for the findings, at most so many seconds."""
        self._thread.join(seconds)
        found = self._found
        if isinstance(found, list):
            return found
        return [_failed(check, found, subject.seconds) for check in subject.checks]

    def _run(self) -> None:
        try:
            self._found = [*self._look(self._facts)]
        except Exception as error:  # noqa: BLE001  # the other checks must be made
            self._found = error


_NOT_CHECKED: tuple[tuple[type[Exception], str, str], ...] = (
    (NoDatabase, "there is no database yet", "Start `fx-pipeline up` first."),
    (StoreError, "the database cannot be used", "See the line `database`."),
    (ModuleNotFoundError, "only the API is installed here", "Run this where Dagster runs, too."),
)
"""Errors of a check that needs something that is not there, the reason, and the remedy."""


def _failed(check: str, error: Exception | None, seconds: float) -> Finding:
    if error is None:
        text = f"no answer within {seconds:g} s"
        return fault(check, text, "Check the disk, the network or the service that this asks.")
    for kind, reason, remedy in _NOT_CHECKED:
        if isinstance(error, kind):
            return not_checked(check, reason, remedy)
    if isinstance(error, SettingsError):
        return of_message(check, str(error))
    if isinstance(error, OSError) and error.filename:
        remedy = (
            "Give this user permission, or run fx-pipeline as the owner."
            if isinstance(error, PermissionError)
            else "Set FX_DATABASE and DAGSTER_HOME to other places."
        )
        return fault(check, f"{error.filename} cannot be used ({error.strerror})", remedy)
    # Its text may contain a secret.
    return fault(check, f"the check failed ({type(error).__name__})", "Report this as a bug of fx-pipeline.")


def load(settings: Settings) -> None:
    """Import what takes seconds, so that it does not count as the time of a check."""
    needed = {
        "fx_pipeline.commands.dagster_state": file_in(settings.dagster_home).exists()
        or settings.fx_dagster_postgres_url,
        "fx_pipeline.alerting.sending": settings.fx_alert_urls,
    }
    for name, is_needed in needed.items():
        with suppress(ModuleNotFoundError):  # the check that needs it reports it
            if is_needed:
                importlib.import_module(name)
