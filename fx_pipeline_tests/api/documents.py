"""Requests, and the whole documents or CSV rows that they return, key order included."""

from typing import Any

from fx_pipeline_tests.api.conftest import MARCH

STAMP = {
    "2026-03-05": 1772755199,
    "2026-03-06": 1772841599,
    "2026-03-08": 1773014399,
    "2026-03-09": 1773100799,
}

NINTH = MARCH["2026-03-09"]


def day(date: str, rates: dict[str, float], **changes: Any) -> dict[str, Any]:
    """Return the document of a day in March."""
    head = {
        "success": True,
        "timestamp": STAMP[date],
        "historical": True,
        "base": "EUR",
        "date": date,
    }
    return {**head, **changes, "rates": rates}


def series(start: str, end: str, rates: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the document of a range."""
    head = {"success": True, "timeseries": True, "start_date": start, "end_date": end, "base": "EUR"}
    return {**head, **changes, "rates": rates}


# 1 USD, from the stored 1 EUR = 1.165 USD, 0.8669 GBP and so on, each rounded to 10 significant digits.
NINTH_IN_USD = {
    "BTC": 1.090128755e-05,
    "EUR": 0.8583690987,
    "GBP": 0.7441201717,
    "IDR": 16909.87124,
    "JPY": 158.0472103,
    "USD": 1,
    "XAU": 0.000191416309,
}

DATES = [
    ("/rates/2026-03-09", day("2026-03-09", NINTH)),
    ("/rates/2026-03-09/", day("2026-03-09", NINTH)),
    ("/rates/2026%2D03%2D09/", day("2026-03-09", NINTH)),
    ("/rates/latest", day("2026-03-09", NINTH, historical=False)),
    ("/rates/latest/", day("2026-03-09", NINTH, historical=False)),
    ("/rates/2026-03-09?base=EUR", day("2026-03-09", NINTH)),
    ("/rates/2026-03-09?base=", day("2026-03-09", NINTH)),
    ("/rates/2026-03-09?symbols=", day("2026-03-09", NINTH)),
    (
        "/rates/2026-03-09?access_key=abc&apikey=abc&format=&callback=&_=1&utm_source=x",
        day("2026-03-09", NINTH),
    ),
    ("/rates/2026-03-09?from=USD", day("2026-03-09", NINTH_IN_USD, base="USD")),
    ("/rates/2026-03-09?base=USD&from=usd&to=", day("2026-03-09", NINTH_IN_USD, base="USD")),
    ("/rates/2026-03-09?to=USD,GBP", day("2026-03-09", {"USD": 1.165, "GBP": 0.8669})),
    ("/rates/2026-03-09?to=usd&to=GBP&symbols=USD,gbp", day("2026-03-09", {"USD": 1.165, "GBP": 0.8669})),
    ("/rates/2026-03-09?amount=&symbols=USD", day("2026-03-09", {"USD": 1.165})),
    ("/rates/2026-03-09?amount=1&symbols=USD", day("2026-03-09", {"USD": 1.165}, amount=1)),
    # 100 x 1.3438689583 as a decimal product, without binary rounding.
    (
        "/rates/latest?amount=100&from=GBP&to=USD",
        day("2026-03-09", {"USD": 134.3868958}, base="GBP", historical=False, amount=100),
    ),
    (
        "/rates/2026-03-09?amount=0.1&symbols=IDR,EUR,JPY",
        day("2026-03-09", {"IDR": 1970, "EUR": 0.1, "JPY": 18.4125}, amount=0.1),
    ),
    ("/rates/2026-03-09?base=USD", day("2026-03-09", NINTH_IN_USD, base="USD")),
    ("/rates/2026-03-09?base=usd", day("2026-03-09", NINTH_IN_USD, base="USD")),
    ("/rates/latest?base=USD", day("2026-03-09", NINTH_IN_USD, base="USD", historical=False)),
    ("/rates/2026-03-09?symbols=USD,GBP", day("2026-03-09", {"USD": 1.165, "GBP": 0.8669})),
    ("/rates/2026-03-09?symbols=GBP,USD", day("2026-03-09", {"GBP": 0.8669, "USD": 1.165})),
    ("/rates/2026-03-09?symbols=gbp,usd,GBP", day("2026-03-09", {"GBP": 0.8669, "USD": 1.165})),
    ("/rates/2026-03-09?symbols=GBP%2CUSD", day("2026-03-09", {"GBP": 0.8669, "USD": 1.165})),
    ("/rates/2026-03-09?symbols=GBP&symbols=USD", day("2026-03-09", {"GBP": 0.8669, "USD": 1.165})),
    ("/rates/2026-03-09?symbols=,%20GBP%20,,USD,", day("2026-03-09", {"GBP": 0.8669, "USD": 1.165})),
    ("/rates/2026-03-09?symbols=EUR", day("2026-03-09", {"EUR": 1})),
    ("/rates/2026-03-09?base=IDR&symbols=XAU", day("2026-03-09", {"XAU": 1.131979695e-08}, base="IDR")),
    (
        "/rates/2026-03-09?base=BTC&symbols=BTC,EUR",
        day("2026-03-09", {"BTC": 1, "EUR": 78740.15748}, base="BTC"),
    ),
    # The latest values.
    ("/rates/2026-03-06", day("2026-03-06", MARCH["2026-03-06"])),
    # The provider stores and documents it.
    (
        "/rates/2000-01-03?symbols=USD,GBP",
        {
            "success": True,
            "timestamp": 946943999,
            "historical": True,
            "base": "EUR",
            "date": "2000-01-03",
            "rates": {"USD": 1.020124, "GBP": 0.627016},
        },
    ),
    (
        "/rates/2000-01-03?base=USD&symbols=GBP",
        {
            "success": True,
            "timestamp": 946943999,
            "historical": True,
            "base": "USD",
            "date": "2000-01-03",
            "rates": {"GBP": 0.6146468469},
        },
    ),
    # A known currency without a rate on that day.
    (
        "/rates/1999-01-04?symbols=USD,JPY,GBP",
        {
            "success": True,
            "timestamp": 915494399,
            "historical": True,
            "base": "EUR",
            "date": "1999-01-04",
            "missing": {"JPY": {"first_date": "2000-01-03", "last_date": "2026-03-09"}},
            "rates": {"USD": 1.1789, "GBP": 0.7111},
        },
    ),
]

USD_IN_MARCH = {
    "2026-03-05": {"USD": 1.1602},
    "2026-03-06": {"USD": 1.1618},
    "2026-03-08": {"USD": 1.162},
    "2026-03-09": {"USD": 1.165},
}

JPY_MISSING = {"JPY": {"first_date": "2000-01-03", "last_date": "2026-03-09"}}

SERIES = [
    (
        "/rates/timeseries?start_date=2026-03-05&end_date=2026-03-09",
        series("2026-03-05", "2026-03-09", MARCH),
    ),
    (
        "/rates/timeseries/?start_date=2026-03-05&end_date=2026-03-09",
        series("2026-03-05", "2026-03-09", MARCH),
    ),
    ("/rates/2026-03-05..2026-03-09", series("2026-03-05", "2026-03-09", MARCH)),
    ("/rates/2026-03-05..2026-03-09/", series("2026-03-05", "2026-03-09", MARCH)),
    ("/rates/2026-03-05../", series("2026-03-05", "2026-03-09", MARCH)),
    ("/rates/2026-03-05..", series("2026-03-05", "2026-03-09", MARCH)),
    ("/rates/2026-03-05%2E%2E2026-03-09", series("2026-03-05", "2026-03-09", MARCH)),
    # The response repeats the requested range, but has only stored days.
    (
        "/rates/2026-03-07..2026-03-08?symbols=USD",
        series("2026-03-07", "2026-03-08", {"2026-03-08": {"USD": 1.162}}),
    ),
    ("/rates/2026-03-01..2026-03-10?symbols=USD", series("2026-03-01", "2026-03-10", USD_IN_MARCH)),
    (
        "/rates/2026-03-06..2026-03-06?symbols=USD",
        series("2026-03-06", "2026-03-06", {"2026-03-06": {"USD": 1.1618}}),
    ),
    (
        "/rates/2026-03-08..?symbols=usd,EUR,jpy",
        series(
            "2026-03-08",
            "2026-03-09",
            {
                "2026-03-08": {"USD": 1.162, "EUR": 1, "JPY": 183.25},
                "2026-03-09": {"USD": 1.165, "EUR": 1, "JPY": 184.125},
            },
        ),
    ),
    (
        "/rates/2026-03-08..?base=USD&symbols=EUR,USD",
        series(
            "2026-03-08",
            "2026-03-09",
            {"2026-03-08": {"EUR": 0.8605851979, "USD": 1}, "2026-03-09": {"EUR": 0.8583690987, "USD": 1}},
            base="USD",
        ),
    ),
    (
        "/rates/2026-03-09..?base=USD",
        series("2026-03-09", "2026-03-09", {"2026-03-09": NINTH_IN_USD}, base="USD"),
    ),
    # Days without the symbol or the base are left out.
    (
        "/rates/1999-01-04..2000-01-03?symbols=JPY",
        series("1999-01-04", "2000-01-03", {"2000-01-03": {"JPY": 102.75}}, missing=JPY_MISSING),
    ),
    (
        "/rates/1999-01-04..2000-01-03?base=JPY&symbols=EUR",
        series(
            "1999-01-04",
            "2000-01-03",
            {"2000-01-03": {"EUR": 0.009732360097}},
            base="JPY",
            missing=JPY_MISSING,
        ),
    ),
    (
        "/rates/2026-03-08..?amount=10&from=GBP&to=USD",
        series(
            "2026-03-08",
            "2026-03-09",
            {"2026-03-08": {"USD": 13.40253749}, "2026-03-09": {"USD": 13.43868958}},
            base="GBP",
            amount=10,
        ),
    ),
    (
        "/rates/timeseries?start_date=2026-03-08&end_date=2026-03-09&amount=1e3&to=USD",
        series(
            "2026-03-08",
            "2026-03-09",
            {"2026-03-08": {"USD": 1162}, "2026-03-09": {"USD": 1165}},
            amount=1000,
        ),
    ),
]


def conversion(
    source: str, target: str, amount: float, rate: float, result: float, **rest: Any
) -> dict[str, Any]:
    """Return the document of a conversion on March 9, the newest day."""
    stamp = rest.pop("timestamp", STAMP["2026-03-09"])
    return {
        "success": True,
        "query": {"from": source, "to": target, "amount": amount},
        "info": {"timestamp": stamp, "rate": rate},
        **{key: value for key, value in rest.items() if key == "historical"},
        "date": rest.get("date", "2026-03-09"),
        "result": result,
    }


CONVERSIONS = [
    ("from=EUR&to=USD&amount=25", conversion("EUR", "USD", 25, 1.165, 29.125)),
    ("from=eur&to=usd&amount=25.0", conversion("EUR", "USD", 25, 1.165, 29.125)),
    ("from=USD&to=EUR&amount=25", conversion("USD", "EUR", 25, 0.8583690987, 21.4592274675)),
    ("from=GBP&to=JPY&amount=.5", conversion("GBP", "JPY", 0.5, 212.3947399, 106.19736995)),
    (
        "from=USD&to=USD&amount=1000000000000.01",
        conversion("USD", "USD", 1000000000000.01, 1, 1000000000000.01),
    ),
    ("from=EUR&to=EUR&amount=3", conversion("EUR", "EUR", 3, 1, 3)),
    ("from=EUR&to=BTC&amount=1e3", conversion("EUR", "BTC", 1000, 1.27e-05, 0.0127)),
    ("from=EUR&to=JPY&amount=1E%2B3", conversion("EUR", "JPY", 1000, 184.125, 184125)),
    ("from=EUR&to=JPY&amount=1e+3", conversion("EUR", "JPY", 1000, 184.125, 184125)),
    (
        "from=EUR&to=USD&amount=25&date=2026-03-06",
        conversion(
            "EUR",
            "USD",
            25,
            1.1618,
            29.045,
            historical=True,
            date="2026-03-06",
            timestamp=STAMP["2026-03-06"],
        ),
    ),
    ("from=EUR&to=USD&amount=25&date=", conversion("EUR", "USD", 25, 1.165, 29.125)),
]


def change(start: float, end: float, difference: float, percentage: float) -> dict[str, float]:
    """Return the fluctuation of one currency."""
    return {"start_rate": start, "end_rate": end, "change": difference, "change_pct": percentage}


def fluctuation(
    start: str, end: str, rates: dict[str, Any], base: str = "EUR", **rest: Any
) -> dict[str, Any]:
    """Return the document of a fluctuation."""
    return {
        "success": True,
        "fluctuation": True,
        "start_date": start,
        "end_date": end,
        "base": base,
        **rest,
        "rates": rates,
    }


FLUCTUATIONS = [
    (
        "start_date=2026-03-06&end_date=2026-03-09&symbols=USD,JPY,EUR",
        fluctuation(
            "2026-03-06",
            "2026-03-09",
            {
                "USD": change(1.1618, 1.165, 0.0032, 0.2754346703),
                "JPY": change(183, 184.125, 1.125, 0.6147540984),
                "EUR": change(1, 1, 0, 0),
            },
        ),
    ),
    # Backwards, as the provider does.
    (
        "start_date=2026-03-09&end_date=2026-03-06&symbols=USD",
        fluctuation("2026-03-09", "2026-03-06", {"USD": change(1.165, 1.1618, -0.0032, -0.2746781116)}),
    ),
    # The same day twice.
    (
        "start_date=2026-03-06&end_date=2026-03-06&symbols=USD",
        fluctuation("2026-03-06", "2026-03-06", {"USD": change(1.1618, 1.1618, 0, 0)}),
    ),
    (
        "start_date=2026-03-06&end_date=2026-03-09&base=USD&symbols=EUR,USD",
        fluctuation(
            "2026-03-06",
            "2026-03-09",
            {
                "EUR": change(0.8607333448, 0.8583690987, -0.0023642461, -0.2746781119),
                "USD": change(1, 1, 0, 0),
            },
            base="USD",
        ),
    ),
    # A currency without a rate on one of the days is left out.
    (
        "start_date=1999-01-04&end_date=2000-01-03&symbols=JPY,GBP",
        fluctuation(
            "1999-01-04",
            "2000-01-03",
            {"GBP": change(0.7111, 0.627016, -0.084084, -11.82449726)},
            missing=JPY_MISSING,
        ),
    ),
]

NAMES = {
    "BTC": "Bitcoin",
    "EUR": "Euro",
    "GBP": "British Pound Sterling",
    "IDR": "Indonesian Rupiah",
    "JPY": "Japanese Yen",
    "USD": "United States Dollar",
    "XAU": "Gold (troy ounce)",
}

OTHERS = [
    ("/rates/symbols", {"success": True, "symbols": NAMES}),
    ("/rates/symbols/", {"success": True, "symbols": NAMES}),
    ("/rates/currencies", NAMES),
    ("/rates/currencies/", NAMES),
]

ALL = [
    *DATES,
    *SERIES,
    *OTHERS,
    *((f"/rates/convert?{query}", document) for query, document in CONVERSIONS),
    *((f"/rates/fluctuation?{query}", document) for query, document in FLUCTUATIONS),
]

CSV = [
    (
        "/rates/2026-03-09.csv?symbols=USD,BTC,JPY",
        ["2026-03-09,EUR,USD,1.165", "2026-03-09,EUR,BTC,1.27e-05", "2026-03-09,EUR,JPY,184.125"],
    ),
    (
        "/rates/latest.csv/?base=USD&symbols=USD,EUR",
        ["2026-03-09,USD,USD,1", "2026-03-09,USD,EUR,0.8583690987"],
    ),
    (
        "/rates/2026-03-06..2026-03-08.csv?symbols=USD,GBP",
        [
            "2026-03-06,EUR,USD,1.1618",
            "2026-03-06,EUR,GBP,0.8672",
            "2026-03-08,EUR,USD,1.162",
            "2026-03-08,EUR,GBP,0.867",
        ],
    ),
    ("/rates/2026-03-09...csv?symbols=JPY", ["2026-03-09,EUR,JPY,184.125"]),
    ("/rates/1999-01-05..2000-01-03.csv?symbols=JPY", ["2000-01-03,EUR,JPY,102.75"]),
]

WIDE_CSV = [
    ("/rates/2026-03-09.csv?wide=1&symbols=USD,BTC", ["date,USD,BTC", "2026-03-09,1.165,1.27e-05"]),
    ("/rates/latest.csv?wide=1&base=USD&symbols=EUR,USD", ["date,EUR,USD", "2026-03-09,0.8583690987,1"]),
    ("/rates/latest.csv?wide=1&amount=10&from=GBP&to=USD", ["date,USD", "2026-03-09,13.43868958"]),
    # All currencies of the range, in alphabetical order. JPY has its first rate on the last day.
    (
        "/rates/1999-01-05..2000-01-03.csv?wide=1",
        ["date,EUR,GBP,JPY,USD", "1999-01-05,1,0.7122,,1.179", "2000-01-03,1,0.627016,102.75,1.020124"],
    ),
    (
        "/rates/1999-01-05..2000-01-03.csv?wide=1&symbols=JPY,USD",
        ["date,JPY,USD", "1999-01-05,,1.179", "2000-01-03,102.75,1.020124"],
    ),
    # A requested currency without any rate keeps its column.
    ("/rates/1999-01-05..1999-01-06.csv?wide=1&symbols=JPY,USD", ["date,JPY,USD", "1999-01-05,,1.179"]),
    # One currency has its own code for reading.
    ("/rates/2026-03-08...csv?wide=1&symbols=USD", ["date,USD", "2026-03-08,1.162", "2026-03-09,1.165"]),
    (
        "/rates/2026-03-08...csv?wide=1&base=GBP&symbols=USD",
        ["date,USD", "2026-03-08,1.340253749", "2026-03-09,1.343868958"],
    ),
    (
        "/rates/2026-03-06..2026-03-08.csv?wide=1&symbols=GBP,USD&as_of=2026-03-07",
        ["date,GBP,USD", "2026-03-06,0.86,1.16"],
    ),
]
"""Requests with a column for each currency, and their rows."""
