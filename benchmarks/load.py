"""The load: keep-alive connections that repeat one request, from another process."""

import http.client
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECTIONS = 8
PAUSE_SECONDS = 0.002
"""How long a visitor pauses between two requests."""
WRK = shutil.which("wrk")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a round: requests in total and per second, errors, latencies in ms."""

    requests: int
    per_second: float
    errors: int
    p50: float
    p99: float


def drive(url: str, seconds: float, headers: Mapping[str, str] | None = None) -> Load:
    """Request `url` for some seconds with `wrk`, or with a slower client of our own if it is missing."""
    fields = headers or {}
    return _wrk(url, seconds, fields) if WRK else _own(url, seconds, fields)


def visit(url: str, seconds: float) -> Load:
    """Request `url` for some seconds, one request at a time with pauses, as a visitor does."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    latencies: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        connection.request("GET", address.path)
        response = connection.getresponse()
        response.read()
        latencies.append((time.perf_counter() - start) * 1e3)
        errors += response.status >= 400
        time.sleep(PAUSE_SECONDS)
    connection.close()
    return _load(latencies, errors, seconds)


def _load(latencies: list[float], errors: int, seconds: float) -> Load:
    latencies.sort()
    count = len(latencies)
    return Load(count, count / seconds, errors, latencies[count // 2], latencies[count * 99 // 100])


def _wrk(url: str, seconds: float, headers: Mapping[str, str]) -> Load:
    fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    duration = f"{max(1, round(seconds))}s"
    command = [str(WRK), "-t1", f"-c{CONNECTIONS}", f"-d{duration}", "--latency", *fields, url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    errors = sum(
        map(int, re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", output))
    )
    return Load(
        requests=int(_find(r"(\d+) requests in", output)),
        per_second=float(_find(r"Requests/sec:\s+([0-9.]+)", output)),
        errors=errors,
        p50=_milliseconds(_find(r"\n\s+50%\s+(\S+)", output)),
        p99=_milliseconds(_find(r"\n\s+99%\s+(\S+)", output)),
    )


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk printed nothing that matches {pattern}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]  # wrk's own format
    return float(number) * _UNITS[unit]


def _own(url: str, seconds: float, headers: Mapping[str, str]) -> Load:
    command = [sys.executable, "-m", "benchmarks.load", url, str(seconds), json.dumps(dict(headers))]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Load(**json.loads(output))


async def _client(url: str, seconds: float, headers: Mapping[str, str]) -> Load:
    import asyncio  # noqa: PLC0415  # only if wrk is missing

    import httpx  # noqa: PLC0415

    latencies: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def request(client: httpx.AsyncClient) -> None:
        nonlocal errors
        while (start := time.perf_counter()) < end:
            response = await client.get(url, headers=headers)
            errors += response.status_code >= 400
            latencies.append((time.perf_counter() - start) * 1e3)

    async with httpx.AsyncClient() as client:
        await asyncio.gather(*(request(client) for _ in range(CONNECTIONS)))
    return _load(latencies, errors, seconds)


if __name__ == "__main__":
    import asyncio
    from dataclasses import asdict

    _, target, duration, header_json = sys.argv
    print(json.dumps(asdict(asyncio.run(_client(target, float(duration), json.loads(header_json))))))
