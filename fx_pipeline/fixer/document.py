"""The JSON object in a body, and the error in it."""

import json
from collections.abc import Mapping

from fx_pipeline.fixer.errors import (
    BadResponse,
    FixerError,
    InactiveAccount,
    InvalidKey,
    QuotaExhausted,
    RateLimited,
    Redirected,
    RequestRefused,
    ServerTrouble,
    UnknownEndpoint,
    meaning,
)

Document = Mapping[str, object]

_MAX_QUOTE = 200

_BY_STATUS: dict[int, type[FixerError]] = {
    401: InvalidKey,
    403: InactiveAccount,
    404: UnknownEndpoint,
    408: ServerTrouble,
    425: ServerTrouble,
    429: RateLimited,
}
_BY_STATUS_CLASS: dict[int, type[FixerError]] = {3: Redirected, 4: RequestRefused, 5: ServerTrouble}


def successful_document(body: bytes, requested: str) -> Document:
    """Return the JSON object of a successful response.

    Raise the FixerError that the body names, and BadResponse if it is not such an object.
    """
    document = _load(body, requested)
    error = _error_in(document, requested)
    if error is not None:
        raise error
    if document.get("success") is not True:
        raise BadResponse("the response does not say whether it succeeded", requested)
    return document


def response_error(
    status: int,
    body: bytes,
    requested: str,
    *,
    retry_after: float | None = None,
    quota_remaining: int | None = None,
) -> FixerError | None:
    """Return the error of a response with this HTTP `status`; None if its body can be parsed.

    An error in the body comes first: most have status 200. `retry_after` (seconds) and `quota_remaining`
    (calls left this month) are from the headers.
    """
    error: FixerError | None
    try:
        error = _error_in(_load(body, requested), requested)
    except BadResponse as unreadable:
        # Fixer sometimes sends 400 with an HTML page, and its gateway 403. The same request succeeds later.
        error = unreadable if status == 200 or (status in (400, 403) and _is_page(body)) else None
    if error is None and status != 200:
        kind = _BY_STATUS.get(status) or _BY_STATUS_CLASS.get(status // 100, BadResponse)
        error = kind(f"{kind.summary} (HTTP {status})", requested)
    if error is not None and status == 429:
        error = _limit_error(error, retry_after, quota_remaining)
    if error is not None and error.retryable:
        error.retry_after = retry_after
    return error


def integer(value: object) -> int | None:
    """Return the integer value of a JSON number, even if written 101.0 or 1.01e2; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _load(body: bytes, requested: str) -> dict[str, object]:
    """Return the JSON object in `body`, whatever its content type. Raise BadResponse for anything else."""
    try:
        document = json.loads(body, object_pairs_hook=_unambiguous)
    except RecursionError:
        reason = "the response is nested too deeply"
    except ValueError:  # includes invalid UTF-8, and numbers too long to convert
        reason = "the response is an HTML page" if _is_page(body) else "the response is truncated or not JSON"
    else:
        if isinstance(document, dict):
            return document
        reason = "the response is not a JSON object"
    raise BadResponse(reason, requested)


def _is_page(body: bytes) -> bool:
    return body.lstrip().startswith(b"<")


def _unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("an object has the same name twice")
    for name in names:
        name.encode()  # half a surrogate pair cannot be stored; UnicodeEncodeError is a ValueError
    return names


def _error_in(document: Document, requested: str) -> FixerError | None:
    error = document.get("error")
    if document.get("success") is not False and not isinstance(error, dict):
        return None
    if not isinstance(error, dict):
        error = {}
    code, type_, info = error.get("code"), error.get("type"), error.get("info") or error.get("message")
    if isinstance(code, str) and not (code.isascii() and code.isdecimal()):
        code, type_ = None, type_ or code  # sibling products send the type as the code
    code = integer(int(code) if isinstance(code, str) and len(code) < 10 else code)
    if code is not None and abs(code) >= 10**9:
        code = None
    type_ = _quote(type_)
    kind = meaning(code, type_)
    named = " ".join(str(part) for part in (code, type_) if part is not None)
    return kind(
        f"{kind.summary} ({named or 'an error without code and type'})",
        requested,
        code=code,
        type=type_,
        info=_quote(info),
    )


def _limit_error(error: FixerError, retry_after: float | None, quota_remaining: int | None) -> FixerError:
    """Return which limit a 429 means: the month's or a short one. Other errors stay as they are."""
    if not isinstance(error, QuotaExhausted | RateLimited | ServerTrouble):
        return error
    kind: type[FixerError] = RateLimited
    if quota_remaining == 0:
        kind = QuotaExhausted
    elif isinstance(error, QuotaExhausted):
        # Fixer calls both limits rate_limit_reached. Headers, if there are any, tell them apart.
        short = retry_after is not None or quota_remaining is not None
        kind = RateLimited if short and (error.type or "").startswith("rate_limit") else QuotaExhausted
    reason = f"{kind.summary} (HTTP 429)"
    return kind(reason, error.requested, code=error.code, type=error.type, info=error.info)


def _quote(text: object) -> str | None:
    """Return Fixer's own words as one printable line."""
    if not isinstance(text, str) or not text.strip():
        return None
    line = " ".join(text.split())[:_MAX_QUOTE]
    return "".join(letter if letter.isprintable() else "?" for letter in line)
