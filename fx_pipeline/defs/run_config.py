"""The tags and the config of a run of the rates: which dates it covers, and how it treats them."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from fx_pipeline.dagster_internals.tags import RANGE_END_TAG, RANGE_START_TAG, STORED_TAG
from fx_pipeline.rates import parse_date

SKIP, REFETCH = "skip", "refetch"
"""The values of STORED_TAG."""

# Plain types. `dagster.Config` would let a config name an environment variable instead of a value, and an
# error message could then show a secret.
FIELDS = {
    "skip_stored": dg.Field(
        dg.Noneable(bool), default_value=False, description="Skip dates that are already stored."
    ),
    "refetch_from": dg.Field(
        dg.Noneable(str),
        default_value=None,
        description="With skip_stored, still refetch the dates from this one on (YYYY-MM-DD).",
    ),
    "only": dg.Field(
        dg.Noneable(dg.Array(str)),
        default_value=None,
        description="Skip all dates except these (YYYY-MM-DD).",
    ),
}


@dataclass(frozen=True, slots=True)
class RatesConfig:
    """How a run treats its dates."""

    skip_stored: bool = False
    """Skip dates that are already stored."""

    refetch_from: dt.date | None = None
    """With skip_stored, still refetch the dates from this one on, because Fixer may have revised them."""

    only: frozenset[dt.date] | None = None
    """Skip all other dates."""

    @classmethod
    def of(cls, context: dg.AssetExecutionContext) -> "RatesConfig":
        """Return the config of a run. STORED_TAG overrides `skip_stored`, because a backfill has no config.

        Raise dagster.Failure for a date that is not one, and for an unknown value of the tag.
        """
        config = context.op_execution_context.op_config
        refetch_from, only = config["refetch_from"], config["only"]
        stored = context.run.tags.get(STORED_TAG)
        if stored not in (None, SKIP, REFETCH):
            raise dg.Failure(
                f"The tag {STORED_TAG} must be {SKIP} or {REFETCH}, not {stored!r}. Correct it, and launch "
                "the run again.",
                allow_retries=False,
            )
        return cls(
            bool(config["skip_stored"]) if stored is None else stored == SKIP,
            _date("refetch_from", refetch_from) if refetch_from else None,
            None if only is None else frozenset(_date("only", text) for text in only),
        )


def _date(field: str, text: str) -> dt.date:
    try:
        return parse_date(text)
    except ValueError:
        raise dg.Failure(
            f"The run config's {field} must be a date such as 2024-01-31. Correct it, and launch the run "
            "again.",
            allow_retries=False,
        ) from None


def rates_config(
    *, skip_stored: bool = False, refetch_from: str | None = None, only: Sequence[str] | None = None
) -> dg.RunConfig:
    """Return the config of a run of the rates, as `RatesConfig` reads it."""
    config: dict[str, object] = {"skip_stored": skip_stored, "refetch_from": refetch_from}
    if only is not None:
        config["only"] = list(only)
    return dg.RunConfig(ops={"rates": {"config": config}})


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags that make one run of the partitions from `first` to `last`, both included."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}
