"""One writer and two readers behind nginx, on three hosts: links are cut, the writer is lost and replaced.

FX_TESTS_HOSTS_SECONDS is how long the writer writes before it is lost: a third of it with a reader cut off.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles

import pytest

from fx_pipeline.processes.ending import FINAL
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.object_store import ObjectStore
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.proofs.hosts import Host, hosts
from fx_pipeline_tests.proofs.numbered_writer import CODES, FIXED
from fx_pipeline_tests.stored import assert_consistent, rows
from fx_pipeline_tests.waiting import wait_for

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("FX_TESTS_HOSTS_SECONDS", "9"))
PORT = 8001
PROGRAM = [sys.executable, "-m", "fx_pipeline"]

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream readers {{
        {servers}
    }}
    server {{
        listen {address}:8000;
        location / {{
            proxy_pass http://readers;
            proxy_connect_timeout 1s;
            proxy_read_timeout 3s;
            proxy_next_upstream error timeout http_502 http_503;
            add_header X-Reader $upstream_addr;
        }}
    }}
}}
"""


class Clients:
    """Clients of the load balancer, whose requests must all succeed, and of each reader."""

    def __init__(self, balancer: str, readers: list[str]) -> None:
        self.wrong: list[str] = []
        self.requests = 0
        self.first: dict[str, dict[int, float]] = defaultdict(dict)
        """When each reader first showed each number."""
        self._newest: dict[str, int] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=[f"{balancer}:8000", True, 0.03]),
            *(
                threading.Thread(target=self._repeat, args=[f"{reader}:{PORT}", False, 0.04])
                for reader in readers
            ),
        ]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def newest(self, reader: str) -> int:
        return self._newest.get(reader, 0)

    def lags(self, commits: Mapping[int, float], reader: str) -> list[float]:
        """Return how long after its commit each number, or a later one, was visible on a reader."""
        shown = self.first[reader].items()
        return [
            min(at for number, at in shown if number >= wanted) - committed
            for wanted, committed in commits.items()
        ]

    def _repeat(self, server: str, must_succeed: bool, pause: float) -> None:
        path = f"/rates/{FIXED}/" if must_succeed else f"/rates/{FIXED}/?symbols={CODES[0]}"
        with closing(http.client.HTTPConnection(server, timeout=10 if must_succeed else 1)) as connection:
            while not self._end.wait(pause):
                before = dict(self._newest)
                try:
                    connection.request("GET", path)
                    response = connection.getresponse()
                    status, body = response.status, response.read()
                    reader = response.headers.get("X-Reader", server).split(", ")[-1]
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    status, body, reader = 0, repr(error).encode(), server
                with self._lock:
                    self.requests += must_succeed
                    if status == 200:
                        self._see(reader.partition(":")[0], json.loads(body)["rates"], before)
                    elif must_succeed:
                        self.wrong.append(f"{status} from {reader}: {body[:200]!r}")

    def _see(self, reader: str, rates: dict[str, float], before: Mapping[str, int]) -> None:
        """Note a response. `before` has the numbers that were known when it was requested."""
        rates.pop("EUR", None)
        numbers = set(rates.values())
        number = int(max(numbers))
        if len(numbers) != 1 or len(rates) not in (1, len(CODES)):
            self.wrong.append(f"{reader} showed half a day: {sorted(numbers)}, {len(rates)} rates")
        if number < before.get(reader, 0):
            self.wrong.append(f"{reader} went back from {before[reader]} to {number}")
        self._newest[reader] = max(number, self.newest(reader))
        self.first[reader].setdefault(number, time.time())


class Site:
    """The hosts and their processes."""

    def __init__(self, store: ObjectStore, stack: ExitStack) -> None:
        self._store = store
        self._stack = stack
        self._running: dict[tuple[str, str], subprocess.Popen[str]] = {}

    def start(self, host: Host, name: str, *arguments: str, program: list[str] = PROGRAM) -> None:
        """Start a command on a host. Its output goes to the file of that name."""
        log = self._stack.enter_context((host.folder / f"{name}.log").open("a", encoding="utf-8"))
        command = [*program, *([name] if program is PROGRAM else []), *arguments]
        process = host.start(command, self.environment(host), stdout=log, stderr=subprocess.STDOUT)
        self._running[host.name, name] = process
        self._stack.callback(self._end, process, signal.SIGKILL)

    def write(self, host: Host, first: int) -> None:
        """Start to store numbered days."""
        program = [sys.executable, "-m", "fx_pipeline_tests.proofs.numbered_writer"]
        self.start(host, "commits", str(host.folder / "fx.db"), str(first), program=program)

    def environment(self, host: Host) -> dict[str, str]:
        return {
            **self._store.credentials,
            "FX_DATABASE": str(host.folder / "fx.db"),
            "FX_REPLICA_URL": self._store.url(),
            "PYTHONPATH": str(PROJECT),
        }

    def run(self, host: Host, *arguments: str) -> tuple[int, str]:
        """Run a command on a host. Return its exit code and output."""
        process = host.start(
            [*PROGRAM, *arguments], self.environment(host), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = process.communicate()
        return process.returncode, output

    def stop(self, host: Host, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to a process and wait for its end. Return its exit code."""
        process = self._running[host.name, name]
        self._end(process, number)
        return process.returncode

    def _end(self, process: "subprocess.Popen[str]", number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait()


def commits_of(host: Host) -> dict[int, float]:
    """Return when each number was committed, from the output of the numbered writer."""
    lines = (host.folder / "commits.log").read_text(encoding="utf-8").splitlines()
    return {int(number): float(at) for number, _, at in (line.partition(" ") for line in lines)}


def report(name: str, value: object) -> None:
    """Print a figure. `pytest -s` shows it."""
    print(f"{name}: {value}")


@contextmanager
def balanced(address: str, readers: list[Host], folder: Path) -> Iterator[None]:
    """Run nginx on this machine, in front of the readers."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        pytest.skip("needs nginx")
    servers = " ".join(f"server {reader.address}:{PORT} fail_timeout=1s;" for reader in readers)
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, servers=servers, address=address), encoding="utf-8")
    with subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, str, list[Host]]]:
    """Make three hosts, an S3 server and the load balancer. The first host is for the writer."""
    with ExitStack() as stack:
        address, (writer, *readers) = stack.enter_context(hosts(3, tmp_path))
        store = ObjectStore(stack.enter_context(reserved_port()), tmp_path / "store", host=address)
        store.start()
        stack.callback(store.stop)
        stack.enter_context(balanced(address, readers, tmp_path))
        yield Site(store, stack), address, [writer, *readers]


def test_readers_serve_through_a_cut_a_lost_writer_and_its_return(
    site: tuple[Site, str, list[Host]],
) -> None:
    this, balancer, (writer, first, second) = site
    this.write(writer, 1)
    wait_for(lambda: (writer.folder / "fx.db").exists() and commits_of(writer))
    this.start(writer, "replicate")
    for reader in (first, second):
        this.start(reader, "replica")
    for reader in (first, second):
        wait_for((reader.folder / "fx.db").exists)
        this.start(reader, "serve", "--host", reader.address)
        wait_for(lambda at=reader.address: answers(at))  # type: ignore[misc]

    with Clients(balancer, [first.address, second.address]) as clients:
        began_at = time.time()
        time.sleep(SECONDS / 3)
        second.cut()
        cut_at = time.time()
        time.sleep(SECONDS / 3)
        second.mend()
        mended_at, behind = time.time(), max(commits_of(writer))
        wait_for(lambda: clients.newest(second.address) >= behind)
        report("from the mended link to current", time.time() - mended_at)
        time.sleep(SECONDS / 3)

        lost_at = time.time()
        for name in ("commits", "replicate"):
            this.stop(writer, name, signal.SIGKILL)
        # The runbook.
        for name in ("serve", "replica"):
            assert this.stop(first, name) == 0
        code, output = this.run(first, "restore", "--take-over", "--force")
        assert code == 0, output
        this.start(first, "replicate")
        this.start(first, "serve", "--host", first.address)
        kept = newest_in(first)
        assert kept >= max(clients.newest(reader.address) for reader in (first, second))
        this.write(first, kept + 1)
        wait_for(lambda: clients.newest(second.address) > kept)
        report("failover", time.time() - lost_at)

        for command, expected in (("replicate", FINAL), ("ingest", 1)):
            code, output = this.run(writer, command)
            assert (code, "Another host has taken over the replica" in output) == (expected, True), output
        continued = newest_in(first)
        wait_for(lambda: clients.newest(second.address) > continued)
    assert clients.wrong == []
    assert clients.requests > SECONDS
    for reader in (first, second):
        assert_consistent(reader.folder / "fx.db")
    for reader in (first, second):
        calm = {
            number: at
            for number, at in commits_of(writer).items()
            if began_at + 1 < at < lost_at - 3 and (reader is first or not cut_at - 3 < at < mended_at + 3)
        }
        lags = clients.lags(calm, reader.address)
        if len(lags) > 1:  # a short run may have no calm second
            report("commit to visible: median, p99", (median(lags), quantiles(lags, n=100)[98]))
    report("lost commits", max(commits_of(writer)) - kept)
    report("requests", clients.requests)


def answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, PORT, timeout=1)
    try:
        connection.request("GET", "/-/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def newest_in(host: Host) -> int:
    """Return the newest number in the database of a host."""
    [(rate,)] = rows(host.folder / "fx.db", "SELECT max(rate) FROM rates")
    return int(rate)
