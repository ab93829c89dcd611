"""The lines that processes log: their format, their fields, and no secret in them."""

import json
import logging
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fx_pipeline.logs import (
    JsonFormatter,
    Redactor,
    TextFormatter,
    add_to_request,
    begin_request,
    run_of_process,
)
from fx_pipeline_tests.command_line import run_command

KEY = "4f9d0c7be21a58d36e0b9c2f71a84d55"
PASSWORD = "p/4+s%=w&0\"r'd<\\>#?k;y~"


def record(
    message: str, *args: object, error: BaseException | None = None, **extra: object
) -> logging.LogRecord:
    """Return a record of 2026-03-06 12:00 UTC."""
    made = logging.getLogger("fx_pipeline.test").makeRecord(
        "fx_pipeline.test",
        logging.WARNING,
        "test.py",
        1,
        message,
        args,
        (type(error), error, error.__traceback__) if error else None,
        extra=extra,
    )
    made.created = 1772798400.25
    return made


def document(line: str) -> dict[str, Any]:
    """Return the document in a line."""
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_json_line_has_time_level_logger_and_message() -> None:
    line = JsonFormatter(Redactor()).format(record("%s is gone: “%s”", "fx.db", 'a "b"\n', color_message="x"))
    assert document(line) == {
        "time": "2026-03-06T12:00:00.250Z",
        "level": "WARNING",
        "logger": "fx_pipeline.test",
        "message": 'fx.db is gone: “a "b"\n”',
    }


def test_a_line_has_the_fields_of_its_run_and_its_request() -> None:
    begin_request(request_id="earlier", token="earlier")
    begin_request(request_id="order-17", operation="latest")
    add_to_request(token="reports")
    with run_of_process("0b1e"):
        made = record("text", date="2026-03-06", status=500)
        text, line = (TextFormatter(Redactor()).format(made), JsonFormatter(Redactor()).format(made))
    begin_request()
    expected = {
        "run": "0b1e",
        "date": "2026-03-06",
        "request_id": "order-17",
        "operation": "latest",
        "status": 500,
        "token": "reports",
    }
    assert {name: document(line).get(name) for name in expected} == expected
    assert text == f"text [{' '.join(f'{name}={value}' for name, value in expected.items())}]"
    assert TextFormatter(Redactor()).format(record("text")) == "text"


def failure() -> BaseException:
    """Return an exception whose text and cause contain the key in a URL and by itself, and a token."""
    try:
        try:
            raise OSError(f"url: /api/2026-03-06?access_key={KEY}&base=EUR (Caused by fxp_abc-DEF_123)")
        except OSError as cause:
            raise ValueError(f"the key {KEY} was refused") from cause
    except ValueError as error:
        return error


def test_an_exception_is_one_json_line_without_secrets() -> None:
    line = JsonFormatter(Redactor([KEY])).format(record("failed for %s", KEY, error=failure()))
    found = document(line)
    assert found["message"] == "failed for [removed]"
    first, *_, last = found["exception"].splitlines()
    assert (first, last) == (
        "Traceback (most recent call last):",
        "ValueError: the key [removed] was refused",
    )
    assert "OSError: url: /api/2026-03-06?access_key=[removed]&base=EUR (Caused by [removed]" in line
    assert KEY not in line


def test_an_exception_in_text_has_no_secrets_either() -> None:
    text = TextFormatter(Redactor([KEY])).format(record("failed for %s", KEY, error=failure()))
    assert "ValueError: the key [removed] was refused" in text
    assert KEY not in text
    assert "fxp_abc" not in text


@pytest.mark.parametrize(
    "form", [PASSWORD, quote(PASSWORD, safe=""), f"user:{quote(PASSWORD, safe='')}@host"]
)
def test_a_secret_full_of_signs_is_removed_before_json_escapes_it(form: str) -> None:
    address = f"postgresql://user:{quote(PASSWORD, safe='')}@host:5432/dagster"
    line = JsonFormatter(Redactor([PASSWORD, address])).format(record("connection to %s failed", form))
    assert document(line)["message"].replace("user:", "").replace("@host", "") == (
        "connection to [removed] failed"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/rates/latest", "/rates/latest"),
        ("/rates/latest?symbols=USD&base=EUR", "/rates/latest?symbols=USD&base=EUR"),
        ("/rates/latest?access_key=secret", "/rates/latest?access_key=[removed]"),
        ("/rates/latest?access_key=&base=EUR", "/rates/latest?access_key=[removed]&base=EUR"),
        ("/rates/latest?a=1&access_key=s=e=c&b=2", "/rates/latest?a=1&access_key=[removed]&b=2"),
        ("/rates/latest?%61ccess%5Fkey=secret", "/rates/latest?%61ccess%5Fkey=[removed]"),
        ("/x?access_key=secret&access_key=secret", "/x?access_key=[removed]&access_key=[removed]"),
        ("/x?xaccess_key=shown", "/x?xaccess_key=shown"),
        # In places where no token belongs.
        ("/x/fxp_secret-_0/y?apikey=fxp_secret&b=2", "/x/[removed]/y?apikey=[removed]&b=2"),
        # A short password is also a word.
        ("postgres is down", "postgres is down"),
        ("https://hc.example/0b1e7f6c-3d55 is down", "[removed] is down"),
        ("host='hc.example': Max retries exceeded with url: /0b1e7f6c-3d55/fail",) * 2,
    ],
)
def test_removes_keys_tokens_and_secret_addresses(text: str, shown: str) -> None:
    redact = Redactor(["postgresql://postgres:postgres@db/dagster", "https://hc.example/0b1e7f6c-3d55"])
    assert redact(text) == shown.replace("/0b1e7f6c-3d55/fail", "[removed]/fail")


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["serve"], {}, "There is no database at "),
        (["serve", "--port", "x"], {}, "Invalid value for '--port'"),
        (["replicate"], {}, "FX_REPLICA_URL is not set"),
        (["serve"], {"FX_API_PORT": "x"}, "FX_API_PORT cannot be used"),
    ],
)
def test_an_error_of_a_command_is_one_json_line(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], message: str
) -> None:
    done = run_command(tmp_path, *arguments, FX_LOG_FORMAT="json", **settings)
    assert done.returncode == 2
    found = document(done.stderr.removesuffix("\n"))
    assert (found["level"], found["message"][: len(message)]) == ("ERROR", message)


UNCAUGHT = f"""
import threading, warnings
from fx_pipeline.logs import configure_logging
from fx_pipeline.settings import load_settings
configure_logging(load_settings())
warnings.warn("old")
def fail():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise RuntimeError("the key {KEY} was refused")
"""


def test_what_nothing_catches_is_one_line_each(tmp_path: Path) -> None:
    settings = {"FX_LOG_FORMAT": "json", "FIXER_ACCESS_KEY": KEY}
    done = run_command(tmp_path, program=[sys.executable, "-c", UNCAUGHT], **settings)
    assert [document(line)["message"] for line in done.stderr.splitlines()] == [
        "UserWarning: old",
        "A thread has ended because of an error: in a thread",
        "The process ends because of an error: the key [removed] was refused",
    ]
    assert KEY not in done.stderr


RUN = """
import dagster as dg
from fx_pipeline.definitions import defs
with dg.DagsterInstance.ephemeral() as instance:
    result = defs.resolve_job_def("history_job").execute_in_process(instance=instance)
print(result.run_id)
"""


def test_the_lines_of_a_run_name_it(tmp_path: Path) -> None:
    settings = {"FX_LOG_FORMAT": "json", "FX_HISTORY_DAYS": "0"}
    done = run_command(tmp_path, program=[sys.executable, "-c", RUN], **settings)
    lines = [document(line) for line in done.stderr.splitlines()]
    assert {line["run"] for line in lines} == {done.stdout.strip()}
    [about] = [line for line in lines if "FX_HISTORY_DAYS is 0" in line["message"]]
    assert (about["level"], about["logger"]) == ("INFO", "dagster")


UP = """
import sys
from fx_pipeline.logs import configure_logging
from fx_pipeline.processes.supervisor import Output
configure_logging(None)
output = Output(sys.stdout)
output.line("system", "api started (pid=1)")
output.line("api", '{"time": "2026-03-06T12:00:00.000Z", "message": "from a child", "status": 200}\\n')
output.line("code", "a line\\n{not json}\\n\\n")
"""


def test_each_line_of_up_is_one_document_with_its_process(tmp_path: Path) -> None:
    done = run_command(tmp_path, program=[sys.executable, "-c", UP], FX_LOG_FORMAT="json")
    lines = [document(line) for line in done.stdout.splitlines()]
    assert [(line["process"], line["message"]) for line in lines] == [
        ("system", "api started (pid=1)"),
        ("api", "from a child"),
        ("code", "a line"),
        ("code", "{not json}"),
    ]
    assert lines[1] == {
        "time": "2026-03-06T12:00:00.000Z",
        "message": "from a child",
        "status": 200,
        "process": "api",
    }
    assert {line["level"] for line in lines if line["process"] != "api"} == {"INFO"}


IMPORTS = """
import logging
import fx_pipeline.api.mcp, fx_pipeline.fixer.client
loggers = [one for one in logging.Logger.manager.loggerDict.values() if isinstance(one, logging.Logger)]
print([one.name for one in (*loggers, logging.root) if one.filters])
print(logging.getLogger("mcp").level, logging.root.handlers)
"""


def test_importing_a_module_sets_no_logging_up(tmp_path: Path) -> None:
    done = run_command(tmp_path, program=[sys.executable, "-c", IMPORTS])
    assert done.stdout == "[]\n0 []\n", done.stderr
