"""Answers requests for a format that a table or a page does not have, and names the formats that there are.

Datasette 0.65.5 answers them with its page and the status 200, so that a program reads HTML as data.
"""

from typing import NoReturn

from datasette import NotFound, Request

from fx_pipeline.api.endpoints.parameters import quoted
from fx_pipeline.api.reading.queries import DATABASE


async def no_format_of_table(request: Request) -> NoReturn:
    """Answer ``/fx/rates.xlsx`` and the like."""
    stem, extension = _split(request)
    formats = ".json" if stem == f"/{DATABASE}" else ".json and .csv"
    raise NotFound(f"There is no {extension} of {stem}. There is {formats}.")


async def no_format_of_page(request: Request) -> NoReturn:
    """Answer ``/currency/USD.csv`` and the like."""
    stem, extension = _split(request)
    raise NotFound(
        f"There is no {extension} of {stem}, which is a page. Rates as JSON and CSV are under /rates/, and "
        f"tables under /{DATABASE}."
    )


def _split(request: Request) -> tuple[str, str]:
    stem, _, extension = request.path.rpartition(".")
    return quoted(stem)[1:-1], quoted(f".{extension}")[1:-1]
