"""Logging of all processes: the format of a line, its fields, and the secrets that no line contains.

`configure_logging` is the only place that sets it up. Text is for people: the message, and the fields at its
end. With FX_LOG_FORMAT=json, each event is one line with one JSON document, also an exception.
"""

import datetime as dt
import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from fx_pipeline.settings import Settings

FIELDS = (
    *("run", "date", "request_id", "method", "path", "operation", "status", "milliseconds", "bytes"),
    *("cache", "token", "client"),
)
"""The fields that a line may have besides its time, level, logger and message. `token` is a token's name."""

_NAMES = {"msg": "message", "event": "message", "timestamp": "time"}
"""Our names of fields, by those of Litestream and Dagster."""

ACCESS = "fx_pipeline.access"
"""The logger of the access log."""

REMOVED = "[removed]"

SHORTEST_SECRET = 10
"""Characters. A shorter password, such as `postgres`, is also an ordinary word of a message."""

# Also a parameter whose name has encoded letters, and anything anywhere that looks like a token of the API.
_KEY = re.compile(r"((?:[?&][^=&\s]*%[^=&\s]*|(?<!\w)access_key)=)[^&\s]*|fxp_[A-Za-z0-9_-]+", re.IGNORECASE)

_of_request: ContextVar[Mapping[str, object]] = ContextVar("fields of a request", default={})  # noqa: B039
_of_process: dict[str, object] = {}


class Redactor:
    """Removes secrets from texts: these ones, tokens of the API, and every `access_key` in a URL.

    `fixer.redaction.Redactor` is for what a provider sends: it finds one secret in any encoding.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {
            form for secret in secrets for part in _parts(secret) for form in (part, quote(part, safe=""))
        }
        long = sorted((one for one in known if len(one) >= SHORTEST_SECRET), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, long))) if long else None

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        if self._known:
            text = self._known.sub(REMOVED, text)
        return _KEY.sub(rf"\g<1>{REMOVED}", text)


class TextFormatter(logging.Formatter):
    """The message, as it is, and the fields at its end."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of an event."""
        return self._redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # its name in `logging`
        """Return the first line."""
        fields = " ".join(f"{name}={value}" for name, value in _fields_of(record).items())
        return f"{record.message} [{fields}]" if fields else record.message


class AccessFormatter(TextFormatter):
    """A line of the access log, which begins as uvicorn's does."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line."""
        fields = _fields_of(record)
        head = '{client} - "{method} {path} HTTP/1.1" {status} {bytes} bytes {milliseconds} ms'.format(
            **fields
        )
        rest = (
            f"{name}={fields[name]}"
            for name in ("cache", "operation", "token", "request_id")
            if name in fields
        )
        return " ".join([head, *rest])


class JsonFormatter(logging.Formatter):
    """One JSON document without line breaks."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the document of an event."""
        document: dict[str, object] = {
            "time": _instant(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            document["stack"] = record.stack_info
        return self.as_line(document)

    def as_line(self, document: Mapping[str, object]) -> str:
        """Return a document as a line, without secrets in its texts."""
        redacted = {
            name: self._redact(value) if isinstance(value, str) else value for name, value in document.items()
        }
        return json.dumps(redacted, ensure_ascii=False, default=lambda value: self._redact(str(value)))


_formatter: TextFormatter | JsonFormatter = TextFormatter(Redactor())


def configure_logging(settings: "Settings | None", *, access_log: bool = False) -> None:
    """Let this process log in the format of FX_LOG_FORMAT, without the secrets in the settings.

    None is for settings that cannot be used. With `access_log`, the lines of the API's access log are
    printed. Calling it again replaces what an earlier call has set up.
    """
    global _formatter  # noqa: PLW0603  # like logging itself, it is about the whole process
    log_format = settings.fx_log_format if settings else os.environ.get("FX_LOG_FORMAT")
    redact = Redactor(secrets_in(settings) if settings else ())
    _formatter = JsonFormatter(redact) if log_format == "json" else TextFormatter(redact)
    if logging.lastResort is not None:  # it prints warnings if nothing else is set up, as in text
        logging.lastResort.setFormatter(_formatter)
    # By default it logs the start and the end of each request.
    logging.getLogger("mcp").setLevel(logging.WARNING)
    # A server that is not ours logs requests itself.
    uvicorn_access = logging.getLogger("uvicorn.access")
    for old in [one for one in uvicorn_access.filters if isinstance(one, _Redacting)]:
        uvicorn_access.removeFilter(old)
    uvicorn_access.addFilter(_Redacting(redact))
    access = logging.getLogger(ACCESS)
    access.setLevel(logging.INFO if access_log else logging.WARNING)
    access.handlers.clear()
    if is_json():
        _log_everything_as_json(_formatter)
    elif access_log:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(AccessFormatter(redact))
        access.addHandler(handler)
        access.propagate = False


def is_json() -> bool:
    """Return whether this process logs JSON."""
    return isinstance(_formatter, JsonFormatter)


def formatter() -> logging.Formatter:
    """Return the formatter of this process, for a handler that a library makes."""
    return _formatter


def uvicorn_log_config() -> dict[str, Any] | None:
    """Return uvicorn's option `log_config`: its own for text, none for JSON."""
    from uvicorn.config import LOGGING_CONFIG  # noqa: PLC0415  # only a server needs it

    return None if is_json() else LOGGING_CONFIG


def say(text: str, level: int = logging.INFO, *, err: bool = True) -> None:
    """Print a line about this process, to standard error or else to standard output.

    A warning begins with "Warning:", and an error with "Error:". In JSON, the level says it.
    """
    name = {logging.WARNING: "Warning: ", logging.ERROR: "Error: "}.get(level, "")
    line = as_json(text, level=level) if is_json() else f"{name}{text}"
    print(line, file=sys.stderr if err else sys.stdout, flush=True)


def as_json(text: str, *, level: int = logging.INFO, logger: str = "fx_pipeline", **more: str) -> str:
    """Return a line of text as a JSON document. If it is one already, only name its fields as ours."""
    formatter = _formatter if isinstance(_formatter, JsonFormatter) else JsonFormatter(Redactor())
    try:
        document = json.loads(text) if text.startswith("{") else None
    except ValueError:
        document = None
    if isinstance(document, dict):
        document = {_NAMES.get(name, name): value for name, value in document.items()}
    else:
        document = {
            "time": _instant(dt.datetime.now(dt.timezone.utc).timestamp()),
            "level": logging.getLevelName(level),
            "logger": logger,
            "message": text,
        }
    return formatter.as_line({**document, **more})


def begin_request(**fields: object) -> None:
    """Let the lines of this request have these fields, and none of an earlier one."""
    _of_request.set(fields)


def add_to_request(**fields: object) -> None:
    """Let further lines of this request have these fields too."""
    _of_request.set({**_of_request.get(), **fields})


def of_request(name: str) -> object:
    """Return a field of this request, or None."""
    return _of_request.get().get(name)


@contextmanager
def run_of_process(run_id: str) -> Iterator[None]:
    """Let the lines of all threads name the run that this process executes."""
    _of_process["run"] = run_id
    try:
        yield
    finally:
        _of_process.pop("run", None)


def secrets_in(settings: "Settings") -> Iterator[str]:
    """Yield the values that no line may contain."""
    for _, value in settings:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, SecretStr):
                yield one.get_secret_value()


class _Redacting(logging.Filter):
    """Redacts the arguments of a record, for handlers that are not ours."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._redact(one) if isinstance(one, str) else one for one in record.args)
        return True


def _log_everything_as_json(formatter: logging.Formatter) -> None:
    """Send all records to standard error, also exceptions that nothing catches, and warnings of Python."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        uvicorn = logging.getLogger(name)
        if uvicorn.handlers:  # with its option `access_log` off, uvicorn.access has none and is silent
            uvicorn.handlers.clear()
            uvicorn.propagate = True
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    # Dagster's option --log-format makes a handler for its own logger.
    logging.getLogger("dagster").propagate = False
    logger = logging.getLogger("fx_pipeline")
    sys.excepthook = lambda kind, error, trace: logger.critical(
        "The process ends because of an error: %s", error or kind.__name__, exc_info=(kind, error, trace)
    )
    threading.excepthook = lambda args: logger.critical(
        "A thread has ended because of an error: %s",
        args.exc_value,
        exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback),
    )
    logging.captureWarnings(capture=True)
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}"


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    found = {**_of_process, **_of_request.get(), **vars(record)}
    return {name: found[name] for name in FIELDS if found.get(name) is not None}


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret, and if it is an address, the parts of it that an exception may quote."""
    yield secret
    try:
        parts = urlsplit(secret)
        if parts.scheme and parts.netloc:
            yield from filter(
                None, (parts.password, parts.username if parts.scheme.startswith("http") else None)
            )
            if parts.scheme.startswith("http"):
                yield parts.path
    except ValueError:
        return


def _instant(seconds: float) -> str:
    at = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
