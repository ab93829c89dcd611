"""A fault: something that needs the operator now."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fx_pipeline.alerting.runbook import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that needs the operator now.

    Two faults with the same kind and subject are the same, unless both have `parts` and share none.
    """

    kind: str
    text: str
    """What happened and what to do. The first line says it in short."""
    subject: str = ""
    """What it is about, if there can be several faults of its kind: a job, a disk, a check."""
    parts: tuple[str, ...] = ()
    """What a check found. A new part is a new fault."""
    event: str = ""
    """What shows it, such as a run, if that is over. What explained it once explains it as long as it is the
    same event: a run that failed on a full disk has still failed when there is space again."""
    link: str | None = None
    """The page that shows more."""

    @property
    def line(self) -> str:
        """Return it in one line, as `status --check` prints it."""
        if self.link is None:
            return self.text
        return f"{KINDS[self.kind].title}: {self.text.splitlines()[0]} ({self.link})"

    @property
    def document(self) -> dict[str, Any]:
        """Return it as a document of `status` has it."""
        return {**asdict(self), "parts": list(self.parts)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Fault":
        """Return the fault in a document of `status`."""
        return cls(**{**document, "parts": tuple(document["parts"])})
