"""Requests, and the errors that they return."""

from fx_pipeline_tests.api.errors_of_days import ERRORS_OF_DAYS
from fx_pipeline_tests.api.errors_of_requests import ERRORS_OF_REQUESTS

ERRORS = [*ERRORS_OF_DAYS, *ERRORS_OF_REQUESTS]
