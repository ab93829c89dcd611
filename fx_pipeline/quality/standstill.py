"""Judge whether the provider's rates stand still, although it sends a day for every day."""

from fx_pipeline.content_age import ContentAge
from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.rates import counted


def standstill(age: ContentAge | None) -> Verdict:
    """Report rates that have been unchanged for longer than ever before. Serious if it is certain."""
    if age is None:
        return Verdict((), 0)
    if age.state == "changing":
        return Verdict((), 1, f"The newest rates have been unchanged since {age.unchanged_since}.")
    serious = age.state == "frozen"
    remedy = (
        "Ask the provider, and refetch the later days when its rates change again"
        if serious
        else "The provider may have been closed, or its rates stand still"
    )
    text = (
        f"the provider sent the same rates again for {counted(age.business_days, 'business day')}; the most "
        f"before was {age.longest}. {remedy}"
    )
    since = age.unchanged_since
    return Verdict((Finding(text, since, serious=serious, subject=str(since)),), 1)
