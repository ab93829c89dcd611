"""The load: keep-alive connections that ask one thing again and again, from another process."""

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
REST_SECONDS = 0.002
"""How long a visitor rests between two requests."""
WRK = shutil.which("wrk")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Load:
    """What a round came to: requests in all and per second, errors, latencies in ms."""

    requests: int
    per_second: float
    errors: int
    p50: float
    p99: float


def drive(url: str, seconds: float, headers: Mapping[str, str] | None = None) -> Load:
    """Ask `url` for so long, by `wrk` where it is installed, else by a slower client of the same manners."""
    asked = headers or {}
    return _wrk(url, seconds, asked) if WRK else _own(url, seconds, asked)


def visit(url: str, seconds: float) -> Load:
    """Ask `url` for so long, one request after another, and rest in between: what a visitor waits for."""
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
        time.sleep(REST_SECONDS)
    connection.close()
    return _told(latencies, errors, seconds)


def _told(latencies: list[float], errors: int, seconds: float) -> Load:
    latencies.sort()
    count = len(latencies)
    return Load(count, count / seconds, errors, latencies[count // 2], latencies[count * 99 // 100])


def _wrk(url: str, seconds: float, headers: Mapping[str, str]) -> Load:
    fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    duration = f"{max(1, round(seconds))}s"
    command = [str(WRK), "-t1", f"-c{CONNECTIONS}", f"-d{duration}", "--latency", *fields, url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    errors = sum(
        map(int, re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", told))
    )
    return Load(
        requests=int(_find(r"(\d+) requests in", told)),
        per_second=float(_find(r"Requests/sec:\s+([0-9.]+)", told)),
        errors=errors,
        p50=_milliseconds(_find(r"\n\s+50%\s+(\S+)", told)),
        p99=_milliseconds(_find(r"\n\s+99%\s+(\S+)", told)),
    )


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk said nothing of {pattern}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]  # wrk's own form
    return float(number) * _UNITS[unit]


def _own(url: str, seconds: float, headers: Mapping[str, str]) -> Load:
    command = [sys.executable, "-m", "benchmarks.load", url, str(seconds), json.dumps(dict(headers))]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Load(**json.loads(told))


async def _client(url: str, seconds: float, headers: Mapping[str, str]) -> Load:
    import asyncio  # noqa: PLC0415  # only where wrk is missing

    import httpx  # noqa: PLC0415

    latencies: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def ask(client: httpx.AsyncClient) -> None:
        nonlocal errors
        while (start := time.perf_counter()) < end:
            response = await client.get(url, headers=headers)
            errors += response.status_code >= 400
            latencies.append((time.perf_counter() - start) * 1e3)

    async with httpx.AsyncClient() as client:
        await asyncio.gather(*(ask(client) for _ in range(CONNECTIONS)))
    return _told(latencies, errors, seconds)


if __name__ == "__main__":
    import asyncio
    from dataclasses import asdict

    _, asked_url, asked_seconds, asked_headers = sys.argv
    print(
        json.dumps(asdict(asyncio.run(_client(asked_url, float(asked_seconds), json.loads(asked_headers)))))
    )
