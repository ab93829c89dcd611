"""nginx before readers of the API, and over a static export: `python -m benchmarks.nginx [--rounds N]`.

Both are compared with one bare uvicorn that sends the same bytes. Before the readers, nginx has the files of
deploy/compose, which make it cache each response for a second. Over the export, it has those of
docs/operations/static-export.md. It has one process for each core. All servers run side by side. Each round
measures them one after another.
"""

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import databases, servers
from benchmarks.api import COLUMNS, DATE, Measured, fetch, rounds
from benchmarks.results import publish, table, yes
from benchmarks.servers import Server
from benchmarks.sites import Machine
from fx_pipeline.clock import utc_now
from fx_pipeline.export.folder import Folder
from fx_pipeline.export.static import export
from fx_pipeline.settings import PROJECT, Settings
from fx_pipeline_tests.export.documented import NGINX, nginx_over
from fx_pipeline_tests.object_store import running_store
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for

COMPOSE = PROJECT / "deploy" / "compose" / "nginx"
YEARS = 27


@contextmanager
def before_readers(folder: Path, readers: Sequence[Server]) -> Iterator[Server]:
    """Run nginx with the files of deploy/compose, without its access log and Dagster."""
    if NGINX is None:
        raise RuntimeError("This benchmark needs nginx. Install it.")
    folder.mkdir()
    addresses = " ".join(f"server {reader.url.removeprefix('http://')};" for reader in readers)
    locations = (COMPOSE / "locations.conf").read_text().partition("# The path of FX_DAGSTER_URL")[0]
    (folder / "locations.conf").write_text(locations.replace("http://rates:8001", "http://rates"))
    main = (COMPOSE / "nginx.conf").read_text()
    main = re.sub(r"\n    server { # for the health check.*?\n    }", "", main, flags=re.DOTALL)
    main = main.replace("access_log /dev/stdout plain;", "access_log off;")
    main = main.replace("include /tmp/resolver.conf;", f"upstream rates {{ {addresses} }}")
    main = main.replace("/tmp/", f"{folder}/")  # noqa: S108
    main = main.replace("/etc/nginx/server.conf", f"{folder}/server.conf")
    server = (COMPOSE / "http.conf").read_text().replace("/etc/nginx/fx/", f"{folder}/")
    server = re.sub(r"\n *http2 on;.*", "", server)  # Debian's nginx is too old
    with reserved_port() as port:
        (folder / "nginx.conf").write_text(f"user root;\n{main}" if os.geteuid() == 0 else main)
        (folder / "server.conf").write_text(re.sub(r"listen 8080[^;]*;", f"listen 127.0.0.1:{port};", server))
        options = ["-p", str(folder), "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"]
        with servers.listening(port, [NGINX, *options, "-g", "daemon off;"], {}, DATE) as running:
            yield running


@contextmanager
def over_files(folder: Path, site: Path) -> Iterator[Server]:
    """Run nginx as docs/operations/static-export.md says."""
    with (
        reserved_port() as port,
        servers.listening(port, nginx_over(site, folder, port), {}, DATE) as running,
    ):
        yield running


@contextmanager
def readers(folder: Path, writer: Machine, count: int) -> Iterator[list[Server]]:
    """Run `replica` and `serve` that many times, over the replica of a writer."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            reader = Machine(writer.store, writer.path, folder / f"reader-{number}" / "fx.db")
            stack.enter_context(reader.running("replica"))
            wait_for(reader.database.exists)
            found.append(stack.enter_context(servers.api(reader.database, 32)))
        yield found


def main() -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fx-pipeline-benchmarks")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    built = databases.build(options.folder / f"{YEARS}.db", YEARS)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "writer").mkdir()
        store = stack.enter_context(running_store(folder / "store"))
        writer = Machine(store, "replica", Path(shutil.copy(built, folder / "writer" / "fx.db")))
        export(Settings(fx_database=writer.database), Folder(folder / "site"), utc_now())
        stack.enter_context(writer.running("replicate"))
        writer.wait_until_replicated()
        both = stack.enter_context(readers(folder, writer, 2))
        body = folder / "date.json"
        body.write_bytes(fetch(both[0].url + DATE))
        measured = [
            Measured("bare uvicorn, the bytes of a date", stack.enter_context(servers.bare(body)), "/"),
            Measured("one reader, warm", both[0], DATE),
            Measured(
                "nginx before two readers",
                stack.enter_context(before_readers(folder / "balancer", both)),
                DATE,
            ),
            Measured(
                "nginx over the static export",
                stack.enter_context(over_files(folder / "files", folder / "site")),
                DATE,
            ),
        ]
        rounds(measured, options)
    bare, reader, balanced, files = measured
    rows = [
        bare.row(None, "", ""),
        reader.row(bare, "", ""),
        balanced.row(bare, "share ≥ 1.7", yes(balanced.per_second >= 1.7 * bare.per_second)),
        files.row(bare, "share ≥ 2.2", yes(files.per_second >= 2.2 * bare.per_second)),
    ]
    text = (
        f"wrk keeps one of the {os.cpu_count()} cores busy, which limits the requests/s. The CPU time is "
        "that of nginx only. It caches each response for a second, so the readers get few requests."
    )
    publish("nginx", f"{table(COLUMNS, rows)}\n\n{text}")


if __name__ == "__main__":
    main()
