"""deploy/cloud-init.yaml and deploy/nginx/server.conf: valid, and nginx serves the API with them."""

import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import yaml
from dotenv import dotenv_values

from fx_pipeline.store.database import open_database
from fx_pipeline_tests.api.server import serving
from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.deploy.used import DEPLOY, SHELLCHECK, check_variables
from fx_pipeline_tests.ports import reserved_ports
from fx_pipeline_tests.waiting import PATIENCE, wait_for

FILE = DEPLOY / "cloud-init.yaml"
CONFIG: dict[str, Any] = yaml.safe_load(FILE.read_text())
FILES = {one["path"]: one for one in CONFIG["write_files"]}
NGINX = DEPLOY / "nginx" / "server.conf"
DOMAIN = "rates.example.com"
LIMIT_OF_EC2 = 16 * 1024
"""Bytes of user data. Other clouds accept more."""


def test_cloud_init_accepts_the_file() -> None:
    if not shutil.which("cloud-init"):
        pytest.skip("cloud-init is not installed")
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", FILE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Valid"), done.stdout
    assert "deprecated" not in done.stdout.lower()


def test_clouds_accept_its_size() -> None:
    assert len(FILE.read_bytes()) < LIMIT_OF_EC2


def test_shellcheck_accepts_the_scripts(tmp_path: Path) -> None:
    scripts = [one for one in FILES.values() if one["content"].startswith("#!")]
    assert len(scripts) == 2
    for script in scripts:
        (tmp_path / "script").write_text(script["content"])
        subprocess.run([SHELLCHECK, tmp_path / "script"], check=True)
        assert script["permissions"] == "0755"


def test_settings_exist_and_are_readable_only_by_root(tmp_path: Path) -> None:
    env = FILES["/etc/fx-pipeline/env"]
    assert env["permissions"] == "0600"
    (tmp_path / "env").write_text(env["content"])
    settings = dotenv_values(tmp_path / "env")
    check_variables(settings)
    assert settings["FX_API_URL"] == f"https://{DOMAIN}"
    # Everything else is as the units expect it.
    units = dotenv_values(DEPLOY / "systemd" / "env")
    assert {name: units[name] for name in settings if name != "FX_API_URL"} == {
        name: value for name, value in settings.items() if name != "FX_API_URL"
    }


def test_domain_is_read_from_the_address() -> None:
    [pattern] = re.findall(r"sed -n '([^']+)'", FILES["/usr/local/sbin/fx-certificate"]["content"])
    for address in (f"https://{DOMAIN}", f"https://{DOMAIN}/fx", f"https://{DOMAIN}:443/"):
        lines = f"# FX_API_URL=https://other\nFX_API_URL={address}\n"
        done = subprocess.run(["sed", "-n", pattern], input=lines, capture_output=True, text=True, check=True)
        assert done.stdout == f"{DOMAIN}\n"


def test_installed_files_exist() -> None:
    script = FILES["/usr/local/sbin/fx-pipeline-install"]["content"]
    paths = re.findall(r"\$deploy\"?/([\w./*-]+)", script)
    assert len(paths) == 6
    for path in paths:
        assert list(DEPLOY.glob(path)), path
    [[program, version]] = CONFIG["runcmd"]
    assert program in FILES
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_nginx_serves_the_api_while_a_reader_fails(tmp_path: Path) -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    open_database(tmp_path / "fx.db").close()
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "privkey.pem"))
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(tmp_path / "fullchain.pem"), append=True)
    with (
        reserved_ports(2) as [plain, secure],
        serving(tmp_path / "fx.db", tmp_path / "log", FX_API_URL=f"https://{DOMAIN}") as api,
        broken_reader() as reader,
        nginx(program, tmp_path, {"80": plain, "443": secure, "8001": api.port}, reader.port),
        httpx.Client(verify=trusted, timeout=PATIENCE) as client,
    ):
        address = f"https://127.0.0.1:{secure}"
        # One of them reaches the reader. It is not sent again, because it may have changed something.
        posted = {client.post(f"{address}/-/health").status_code for _ in range(2)}
        assert (posted, reader.requests) == ({405, 502}, 1)
        assert [client.get(f"{address}/-/health").status_code for _ in range(4)] == [200] * 4
        assert reader.requests > 1
        answer = client.get(f"{address}/-/health")
        assert answer.status_code == 200, answer.text
        assert "Strict-Transport-Security" in answer.headers
        assert client.get(f"{address}/", headers={"X-Long": "x" * 9000}).status_code == 400
        moved = client.get(f"http://127.0.0.1:{plain}/rates/latest?base=USD")
        assert (moved.status_code, moved.headers["Location"]) == (
            301,
            "https://127.0.0.1/rates/latest?base=USD",
        )


@dataclass
class Broken:
    """A server that ends each connection after a request, without a response."""

    port: int
    requests: int = 0


@contextmanager
def broken_reader() -> Iterator[Broken]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reader = Broken(listening.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):  # the end
                while True:
                    client, _ = listening.accept()
                    with client:
                        client.recv(65536)
                        reader.requests += 1

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield reader
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def nginx(program: str, folder: Path, ports: dict[str, int], reader: int) -> Iterator[None]:
    """Run nginx with server.conf, with other ports, the certificate in the folder, and a reader.

    The line for the reader is the one in the comment of server.conf.
    """
    server = NGINX.read_text().replace("/etc/fx-pipeline", str(folder)).replace(f"{folder}/tls", str(folder))
    server = re.sub(r"(?m)^ *listen \[::\].*\n", "", server)  # a container may have no IPv6
    for old, new in ports.items():
        place = "127.0.0.1:" if old == "8001" else "listen "
        assert f"{place}{old}" in server
        at = f"{place}{new}" if old == "8001" else f"listen 127.0.0.1:{new}"
        server = server.replace(f"{place}{old}", at)
    temporary = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/errors;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}\n{server}}}\n"
    )
    command = [program, "-p", str(folder), "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]
    [line] = re.findall(r"(?m)^# +(server 10\S+ .*;)$", server)
    for readers in ("", line.replace("10.0.0.7:8001", f"127.0.0.1:{reader}")):
        if readers:
            (folder / "readers.conf").write_text(readers)
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen(command)
    try:
        wait_for(lambda: _listens(ports["443"]))
        yield
    finally:
        process.terminate()
        wait_until_gone(process)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
