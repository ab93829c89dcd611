"""Requests for days, bases and symbols, and the errors that they get."""

from fx_pipeline_tests.api.error_texts import BAD_DATES, HINT, JPY_DAYS, ONLY_NEWEST, PREFIX

ERRORS_OF_DAYS = [
    *((f"/rates/{text}", 400, 302, "invalid_date", info) for text, info in BAD_DATES),
    *((f"/rates/{text}.csv", 400, 302, "invalid_date", info) for text, info in BAD_DATES),
    *(
        (f"/rates/convert?from=EUR&to=USD&amount=1&date={text}", 400, 302, "invalid_date", info)
        for text, info in BAD_DATES
    ),
    *(
        (f"/rates/timeseries?start_date={text}&end_date=2026-03-09", 400, 502, "invalid_start_date", info)
        for text, info in BAD_DATES
    ),
    *(
        (f"/rates/fluctuation?start_date=2026-03-05&end_date={text}", 400, 503, "invalid_end_date", info)
        for text, info in BAD_DATES
    ),
    ("/rates/-", 400, 302, "invalid_date", "'-' is not a date of the form YYYY-MM-DD."),
    ("/rates/.csv", 400, 302, "invalid_date", "'' is not a date of the form YYYY-MM-DD."),
    (
        "/rates/2024-02-30..2026-03-09",
        400,
        502,
        "invalid_start_date",
        "2024-02-30 does not exist: February 2024 has 29 days.",
    ),
    (
        "/rates/2026-03-05..2026-03-32",
        400,
        503,
        "invalid_end_date",
        "2026-03-32 does not exist: March 2026 has 31 days.",
    ),
    (
        "/rates/2026-03-05..2026-03-11",
        400,
        503,
        "invalid_end_date",
        "2026-03-11 is in the future: today is 2026-03-10 (UTC).",
    ),
    # Nothing stored.
    (
        "/rates/2026-03-07",
        404,
        106,
        "no_rates_available",
        "No rates are stored for 2026-03-07. Nearest: 2026-03-06 and 2026-03-08.",
    ),
    (
        "/rates/2026-03-10",
        404,
        106,
        "no_rates_available",
        f"No rates are stored for 2026-03-10. {ONLY_NEWEST}",
    ),
    (
        "/rates/0001-01-01",
        404,
        106,
        "no_rates_available",
        "No rates are stored for 0001-01-01. Nearest: 1999-01-04.",
    ),
    (
        "/rates/2026-03-07.csv",
        404,
        106,
        "no_rates_available",
        "No rates are stored for 2026-03-07. Nearest: 2026-03-06 and 2026-03-08.",
    ),
    (
        "/rates/2010-01-01..2010-12-31",
        404,
        106,
        "no_rates_available",
        "No rates are stored from 2010-01-01 to 2010-12-31. Nearest: 2000-01-03 and 2026-03-05.",
    ),
    (
        "/rates/2026-03-10..",
        404,
        106,
        "no_rates_available",
        f"No rates are stored from 2026-03-10 on. {ONLY_NEWEST}",
    ),
    (
        "/rates/fluctuation?start_date=2010-12-31&end_date=2010-01-01",
        404,
        106,
        "no_rates_available",
        "No rates are stored from 2010-01-01 to 2010-12-31. Nearest: 2000-01-03 and 2026-03-05.",
    ),
    # One end of the range, or both, are not stored. The API does not take other days in their place.
    *(
        (
            f"/rates/fluctuation?start_date={start}&end_date={end}{rest}",
            404,
            106,
            "no_rates_available",
            f"No rates are stored for {lacking}. The first day from {between} that has rates is {found}.",
        )
        for start, end, rest, lacking, between, found in (
            (
                "1999-01-01",
                "2026-03-09",
                "&symbols=USD",
                "1999-01-01",
                "1999-01-01 to 2026-03-09",
                "1999-01-04, and the last is 2026-03-09",
            ),
            (
                "2026-03-10",
                "2026-03-05",
                "&base=USD",
                "2026-03-10",
                "2026-03-05 to 2026-03-10",
                "2026-03-05, and the last is 2026-03-09",
            ),
            (
                "2026-03-07",
                "2026-03-10",
                "&format=1",
                "2026-03-07 and 2026-03-10",
                "2026-03-07 to 2026-03-10",
                "2026-03-08, and the last is 2026-03-09",
            ),
        )
    ),
    (
        "/rates/fluctuation?start_date=2026-03-05&end_date=2026-03-06&as_of=2026-03-06",
        404,
        106,
        "no_rates_available",
        "No rates were known at 2026-03-06T23:59:59.999999Z for 2026-03-06. The first day from 2026-03-05 to "
        "2026-03-06 that has rates is 2026-03-05, and the last is 2026-03-05.",
    ),
    (
        "/rates/convert?from=EUR&to=USD&amount=1&date=2026-03-07",
        404,
        106,
        "no_rates_available",
        "No rates are stored for 2026-03-07. Nearest: 2026-03-06 and 2026-03-08.",
    ),
    # A known currency without a rate on that day.
    (
        "/rates/1999-01-04?base=JPY",
        404,
        106,
        "no_rates_available",
        f"No rate of the base JPY is stored for 1999-01-04. {JPY_DAYS}",
    ),
    (
        "/rates/1999-01-04..1999-01-05?base=JPY",
        404,
        106,
        "no_rates_available",
        f"No rate of the base JPY is stored from 1999-01-04 to 1999-01-05. {JPY_DAYS}",
    ),
    (
        "/rates/1999-01-04..1999-01-05?base=JPY&symbols=USD",
        404,
        106,
        "no_rates_available",
        f"No rate of the base JPY is stored from 1999-01-04 to 1999-01-05. {JPY_DAYS}",
    ),
    (
        "/rates/convert?from=EUR&to=JPY&amount=1&date=1999-01-04",
        404,
        106,
        "no_rates_available",
        f"No rate of JPY is stored for 1999-01-04. {JPY_DAYS}",
    ),
    (
        "/rates/convert?from=JPY&to=EUR&amount=1&date=1999-01-04",
        404,
        106,
        "no_rates_available",
        f"No rate of the base JPY is stored for 1999-01-04. {JPY_DAYS}",
    ),
    (
        "/rates/fluctuation?start_date=1999-01-04&end_date=2000-01-03&base=JPY",
        404,
        106,
        "no_rates_available",
        f"No rate of the base JPY is stored for 1999-01-04. {JPY_DAYS}",
    ),
    # Bases.
    *(
        (f"{path}base=ZWL", 400, 201, "invalid_base_currency", f"{PREFIX}ZWL{HINT}")
        for path in (
            "/rates/latest?",
            "/rates/2026-03-06?",
            "/rates/2026-03-07?",
            "/rates/2026-03-07?symbols=QQQ&",
            "/rates/2026-03-05..?",
            "/rates/2026-03-05..?symbols=USD&",
            "/rates/2010-01-01..2010-12-31?",
            "/rates/fluctuation?start_date=2026-03-05&end_date=2026-03-09&",
            "/rates/fluctuation?start_date=2010-03-05&end_date=2010-03-09&",
        )
    ),
    *(
        (
            f"/rates/latest?base={sent}",
            400,
            201,
            "invalid_base_currency",
            f"The base {quoted} is not a three-letter currency code.",
        )
        for sent, quoted in (
            ("EU", "'EU'"),
            ("EURO", "'EURO'"),
            ("12%24", "'12$'"),
            ("%C3%9FD", "'ßD'"),
            ("u%C5%BFd", "'uſd'"),
            ("%00", r"'\x00'"),
            ("'%20OR%201=1--", '"\' OR 1=1--"'),
            ("A" * 100, f"'{'A' * 40}…'"),
        )
    ),
    (
        "/rates/latest?base=USD&base=GBP",
        400,
        201,
        "invalid_base_currency",
        "The parameter 'base' is given more than once.",
    ),
    # Symbols.
    *(
        (f"{path}symbols=USD,ZWL,QQQ", 400, 202, "invalid_currency_codes", f"{PREFIX}ZWL, QQQ{HINT}")
        for path in (
            "/rates/latest?",
            "/rates/2026-03-07?",
            "/rates/2026-03-06?base=USD&",
            "/rates/2026-03-05..?",
            "/rates/2010-01-01..2010-12-31?",
            "/rates/timeseries?start_date=2026-03-05&end_date=2026-03-09&",
            "/rates/fluctuation?start_date=2026-03-05&end_date=2026-03-09&",
        )
    ),
    (
        "/rates/latest?symbols=" + ",".join(f"QQ{letter}" for letter in "ABCDEFGHIJKLMN"),
        400,
        202,
        "invalid_currency_codes",
        f"{PREFIX}{', '.join(f'QQ{letter}' for letter in 'ABCDEFGHIJ')} and 4 more{HINT}",
    ),
    *(
        (
            f"/rates/latest?symbols=USD,{sent}",
            400,
            202,
            "invalid_currency_codes",
            f"{quoted} among the symbols is not a three-letter currency code.",
        )
        for sent, quoted in (
            ("US", "'US'"),
            ("USDX", "'USDX'"),
            ("U%00D", r"'U\x00D'"),
            ("%F0%9F%92%B6", "'💶'"),
        )
    ),
]
