"""Texts that several errors of the API share."""

GBP_PENCE = (
    "mixes upper and lower case, as codes of minor units do (GBp is pence). For the currency, write GBP."
)
PREFIX = "Unknown currency: "

HINT = ". See /rates/symbols for the available codes."

JPY_DAYS = "JPY has rates from 2000-01-03 to 2026-03-09."

ONLY_NEWEST = "Nearest: 2026-03-09."

BAD_DATES = [
    ("2024-02-30", "2024-02-30 does not exist: February 2024 has 29 days."),
    ("2023-02-29", "2023-02-29 does not exist: February 2023 has 28 days."),
    ("1900-02-29", "1900-02-29 does not exist: February 1900 has 28 days."),
    ("2024-04-31", "2024-04-31 does not exist: April 2024 has 30 days."),
    ("2024-01-00", "2024-01-00 does not exist: January 2024 has 31 days."),
    ("2024-13-01", "2024-13-01 does not exist: months are 01 to 12."),
    ("2024-00-10", "2024-00-10 does not exist: months are 01 to 12."),
    ("2024-1-1", "'2024-1-1' is not a date of the form YYYY-MM-DD."),
    ("0000-01-01", "0000-01-01 does not exist: years begin with 0001."),
    ("20240101", "'20240101' is not a date of the form YYYY-MM-DD."),
    ("2024", "'2024' is not a date of the form YYYY-MM-DD."),
    ("1.5", "'1.5' is not a date of the form YYYY-MM-DD."),
    ("2026-03-11", "2026-03-11 is in the future: today is 2026-03-10 (UTC)."),
    ("9999-12-31", "9999-12-31 is in the future: today is 2026-03-10 (UTC)."),
]
