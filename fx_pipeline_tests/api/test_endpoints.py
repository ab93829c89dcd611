"""What each endpoint answers: whole documents."""

from typing import Any

import pytest

from fx_pipeline_tests.api.conftest import Api

DATES = [
    pytest.param(
        "/rates/2000-01-03/?base=EUR&symbols=GBP,USD",
        {
            "success": True,
            "timestamp": 946943999,
            "historical": True,
            "base": "EUR",
            "date": "2000-01-03",
            "rates": {"GBP": 0.627016, "USD": 1.020124},
        },
        id="a day as the provider documents it",
    ),
]


@pytest.mark.parametrize(("path", "document"), DATES)
async def test_date(api: Api, path: str, document: dict[str, Any]) -> None:
    response = await api.get(path)
    assert (response.status_code, response.json()) == (200, document)
