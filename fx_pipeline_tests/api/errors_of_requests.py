"""Requests for conversions, ranges, instants, paths and formats, and the errors that they get."""

from fx_pipeline_tests.api.error_texts import HINT, PREFIX

ERRORS_OF_REQUESTS = [
    # Conversions.
    (
        "/rates/convert?to=USD&amount=1",
        400,
        402,
        "invalid_from_currency",
        "The parameter 'from' is missing. It names a currency.",
    ),
    (
        "/rates/convert?from=E&to=USD&amount=1",
        400,
        402,
        "invalid_from_currency",
        "'from' is 'E', which is not a three-letter currency code.",
    ),
    ("/rates/convert?from=ZWL&to=USD&amount=1", 400, 402, "invalid_from_currency", f"{PREFIX}ZWL{HINT}"),
    (
        "/rates/convert?from=EUR&from=USD&to=USD&amount=1",
        400,
        402,
        "invalid_from_currency",
        "The parameter 'from' is given more than once.",
    ),
    (
        "/rates/convert?from=EUR&amount=1",
        400,
        402,
        "invalid_to_currency",
        "The parameter 'to' is missing. It names a currency.",
    ),
    (
        "/rates/convert?from=EUR&to=&amount=1",
        400,
        402,
        "invalid_to_currency",
        "The parameter 'to' is missing. It names a currency.",
    ),
    ("/rates/convert?from=EUR&to=ZWL&amount=1", 400, 402, "invalid_to_currency", f"{PREFIX}ZWL{HINT}"),
    (
        "/rates/convert?from=EUR&to=USD",
        400,
        403,
        "invalid_conversion_amount",
        "The parameter 'amount' is missing. It is a number above 0.",
    ),
    (
        "/rates/convert?from=EUR&to=USD&amount=1&amount=2",
        400,
        403,
        "invalid_conversion_amount",
        "The parameter 'amount' is given more than once.",
    ),
    *(
        (
            f"/rates/convert?from=EUR&to=USD&amount={sent}",
            400,
            403,
            "invalid_conversion_amount",
            f"The amount {quoted} is not a number from 1E-18 to 1E+18.",
        )
        for sent, quoted in (
            ("0", "'0'"),
            ("0.000", "'0.000'"),
            ("-1", "'-1'"),
            ("abc", "'abc'"),
            ("NaN", "'NaN'"),
            ("Infinity", "'Infinity'"),
            ("1e999", "'1e999'"),
            ("1e308", "'1e308'"),
            ("1e-999", "'1e-999'"),
            ("0.000000000000000000000001", "'0.000000000000000000000001'"),
            ("1_000", "'1_000'"),
            ("1,5", "'1,5'"),
            ("0x10", "'0x10'"),
            ("%D9%A1", "'١'"),
            (".", "'.'"),
            ("9" * 50, f"'{'9' * 40}…'"),
        )
    ),
    # Ranges.
    (
        "/rates/timeseries",
        400,
        501,
        "no_timeframe_supplied",
        "Missing: start_date and end_date (YYYY-MM-DD).",
    ),
    (
        "/rates/timeseries?start_date=2026-03-05",
        400,
        501,
        "no_timeframe_supplied",
        "Missing: end_date (YYYY-MM-DD).",
    ),
    (
        "/rates/fluctuation?end_date=2026-03-05&start_date=",
        400,
        501,
        "no_timeframe_supplied",
        "Missing: start_date (YYYY-MM-DD).",
    ),
    *(
        (
            path,
            400,
            501,
            "no_timeframe_supplied",
            "The range has no start. Write <start>..<end> or <start>.. instead.",
        )
        for path in ("/rates/..2026-03-05", "/rates/%2E%2E", "/rates/....")
    ),
    (
        "/rates/timeseries?start_date=2026-03-05&start_date=2026-03-06&end_date=2026-03-09",
        400,
        502,
        "invalid_start_date",
        "The parameter 'start_date' is given more than once.",
    ),
    (
        "/rates/timeseries?start_date=2026-03-05&end_date=2026-03-09&end_date=2026-03-08",
        400,
        503,
        "invalid_end_date",
        "The parameter 'end_date' is given more than once.",
    ),
    *(
        (path, 400, 504, "invalid_time_frame", "The end 2026-03-05 is before the start 2026-03-09.")
        for path in (
            "/rates/2026-03-09..2026-03-05",
            "/rates/timeseries?start_date=2026-03-09&end_date=2026-03-05",
        )
    ),
    # As of.
    *(
        (
            f"{path}as_of={sent}",
            400,
            302,
            "invalid_date",
            f"as_of {quoted} is neither a date (YYYY-MM-DD) nor an instant with its zone, such as "
            "2026-01-31T12:00:00Z.",
        )
        for path in ("/rates/latest?", "/rates/2026-03-05..?", "/rates/convert?from=EUR&to=USD&amount=1&")
        for sent, quoted in (
            ("yesterday", "'yesterday'"),
            ("2026-03-09T12:00:00", "'2026-03-09T12:00:00'"),
            ("2026-03-09T25:00:00Z", "'2026-03-09T25:00:00Z'"),
            ("2026-03-09T12:00:00Q", "'2026-03-09T12:00:00Q'"),
            ("1772841599", "'1772841599'"),
            ("0001-01-01T00:00:00%2B14:00", "'0001-01-01T00:00:00+14:00'"),
        )
    ),
    *(
        (f"{path}as_of={sent}", 400, 302, "invalid_date", f"as_of: {sent[:10]} does not exist: {why}.")
        for path in ("/rates/latest?", "/rates/2026-03-05..?", "/rates/convert?from=EUR&to=USD&amount=1&")
        for sent, why in (
            ("2026-02-30", "February 2026 has 28 days"),
            ("2026-02-30T12:00:00Z", "February 2026 has 28 days"),
            ("2026-00-01", "months are 01 to 12"),
        )
    ),
    *(
        (
            f"/rates/latest?as_of={sent}",
            400,
            302,
            "invalid_date",
            f"as_of '{sent}' is in the future.",
        )
        for sent in ("2026-03-11", "2026-03-11T00:00:00Z", "2026-03-10T23:00:00-02:00", "9999-12-31")
    ),
    (
        "/rates/latest?as_of=2026-03-09&as_of=2026-03-08",
        400,
        302,
        "invalid_date",
        "The parameter 'as_of' is given more than once.",
    ),
    (
        "/rates/latest?as_of=2026-03-05",
        404,
        106,
        "no_rates_available",
        "No rates were known at 2026-03-05T23:59:59.999999Z.",
    ),
    (
        "/rates/2026-03-06?as_of=2026-03-06T12:00:00Z",
        404,
        106,
        "no_rates_available",
        "No rates were known at 2026-03-06T12:00:00Z for 2026-03-06. Nearest: 2026-03-05.",
    ),
    (
        "/rates/2026-03-06..?as_of=2026-03-06T12:00:00Z",
        404,
        106,
        "no_rates_available",
        "No rates were known at 2026-03-06T12:00:00Z from 2026-03-06 on. Nearest: 2026-03-05.",
    ),
    # Paths.
    *(
        (
            f"/rates/{path}",
            404,
            103,
            "invalid_api_function",
            f"There is no endpoint /rates/{shown}. See /rates/ for the list.",
        )
        for path, shown in (
            ("historical", "historical"),
            ("Latest", "Latest"),
            ("2026-03-05/USD", "2026-03-05/USD"),
            ("2026-03-05..2026-03-06..x", "2026-03-05..2026-03-06..x"),
            ("latest..", "latest.."),
            ("%D9%A2%D9%A0%D9%A2%D9%A4-01-01", "٢٠٢٤-01-01"),
            ("%00", r"\x00"),
            ("%FF", "\ufffd"),
            ("x" * 100, "x" * 40 + "…"),
            ("/", "/"),
            ("/latest", "/latest"),
            ("latest//", "latest//"),
            ("%2Flatest", "/latest"),
            ("latest%2F", "latest/"),
            ("%2E/latest", "./latest"),
            ("latest;base=USD", "latest;base=USD"),
            ("latest%3Fbase=USD", "latest?base=USD"),
            ("latest%20", "latest "),
            ("symbols//", "symbols//"),
            ("historical.csv", "historical.csv"),
            ("docs.csv", "docs.csv"),
        )
    ),
    # Formats.
    *(
        (
            f"/rates/{path}",
            404,
            103,
            "invalid_api_function",
            f"There is no endpoint /rates/{path}. There is {formats}.",
        )
        for path, formats in (
            ("latest.xlsx", "/rates/latest (JSON) and /rates/latest.csv (CSV)"),
            ("2026-03-06.json", "/rates/2026-03-06 (JSON) and /rates/2026-03-06.csv (CSV)"),
            (
                "2026-03-05..2026-03-09.parquet",
                "/rates/2026-03-05..2026-03-09 (JSON) and /rates/2026-03-05..2026-03-09.csv (CSV)",
            ),
            ("2026-03-05...xls", "/rates/2026-03-05.. (JSON) and /rates/2026-03-05...csv (CSV)"),
            ("timeseries.csv", "/rates/timeseries (JSON)"),
            ("symbols.xml", "/rates/symbols (JSON)"),
            ("openapi.yaml", "/rates/openapi.json (JSON)"),
            ("latest.csv.gz", "/rates/latest.csv (CSV)"),
        )
    ),
]
