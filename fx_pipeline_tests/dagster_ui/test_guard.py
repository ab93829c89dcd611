"""The guard in front of the real Dagster UI, over sockets: what it passes on and what it refuses."""

import http.client
import json
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from fx_pipeline.dagster_ui.guard import MAX_BODY_BYTES
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.dagster_ui.attacks import mutation
from fx_pipeline_tests.dagster_ui.server import UI, serving_ui
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import PATIENCE

PUBLIC = "https://dagster.example.org"
PASSWORD = "swörd:fish 7"

JSON = {"Content-Type": "application/json"}
QUERY = '{"query": "{ version }"}'

Headers = dict[str, str]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UI]:
    """Yield a UI that is also behind a proxy, and has one more name."""
    folder = tmp_path_factory.mktemp("proxied")
    with serving_ui(folder, FX_DAGSTER_URL=PUBLIC, FX_ALLOWED_HOSTS="dagster.lan, 192.168.7.1") as ui:
        yield ui


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UI]:
    """Yield a UI with a password, which other machines could reach."""
    with serving_ui(
        tmp_path_factory.mktemp("locked"),
        "--host",
        "0.0.0.0",  # noqa: S104
        FX_DAGSTER_PASSWORD=PASSWORD,
    ) as ui:
        yield ui


def ask(ui: UI, method: str, path: str, headers: Headers, body: str | bytes | None = None) -> tuple[int, str]:
    """Send exactly these headers, with PORT for the port of the UI, and return status and body."""
    with closing(http.client.HTTPConnection("127.0.0.1", int(ui.port), timeout=PATIENCE)) as connection:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        content = body.encode() if isinstance(body, str) else body or b""
        for name, value in {"Host": "127.0.0.1:PORT", "Content-Length": str(len(content)), **headers}.items():
            connection.putheader(name, value.replace("PORT", ui.port))
        connection.endheaders(content)
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:PORT", 200),
        ("127.0.0.2", 200),
        ("localhost:PORT", 200),
        ("LOCALHOST", 200),
        ("[::1]:PORT", 200),
        ("dagster.example.org", 200),
        ("dagster.lan:8443", 200),
        ("192.168.7.1", 200),
        ("192.168.7.2", 403),
        ("foreign.example", 403),
        ("dagster.example.org.foreign.example", 403),
        ("127.0.0.1.foreign.example:PORT", 403),
        ("localhost.", 403),
        ("localhost:PORT:1", 403),
        ("localhost/", 403),
        ("127.0.0.1@foreign.example", 403),
        ("", 403),
    ],
)
def test_only_the_servers_names_are_accepted(ui: UI, host: str, status: int) -> None:
    assert ask(ui, "GET", "/server_info", {"Host": host})[0] == status
    assert ask(ui, "POST", "/graphql", {"Host": host, **JSON}, QUERY)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:PORT"}, 200),
        ({"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Referer": "http://127.0.0.1:PORT/assets"}, 200),
        ({"Origin": PUBLIC}, 200),
        ({"Origin": PUBLIC, "Host": "dagster.example.org"}, 200),
        ({"Origin": "https://dagster.lan", "Host": "dagster.lan"}, 200),
        ({"Origin": "http://dagster.lan:8080", "Host": "dagster.lan:8080"}, 200),
        ({"Origin": "http://dagster.example.org", "Host": "dagster.example.org"}, 403),
        ({"Origin": "https://dagster.example.org:8443"}, 403),
        ({"Origin": "https://dagster.lan"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://localhost:PORT"}, 403),
        ({"Origin": "http://127.0.0.1:PORT.foreign.example"}, 403),
        ({"Origin": "http://foreign.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "file://"}, 403),
        ({"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://foreign.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Referer": "http://foreign.example/"}, 403),
    ],
)
def test_a_change_must_come_from_the_servers_own_pages_or_no_page(
    ui: UI, headers: Headers, status: int
) -> None:
    assert ask(ui, "POST", "/graphql", {**JSON, **headers}, QUERY)[0] == status


@pytest.mark.parametrize(
    ("mode", "destination", "status"),
    [
        ("navigate", "document", 200),
        ("navigate", "iframe", 403),
        ("navigate", "object", 403),
        ("no-cors", "image", 403),
        ("no-cors", "script", 403),
        ("cors", "empty", 403),
    ],
)
def test_a_page_of_another_site_may_link_to_the_ui(ui: UI, mode: str, destination: str, status: int) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    assert ask(ui, "GET", "/assets/rates", headers)[0] == status
    assert ask(ui, "POST", "/graphql", {**JSON, **headers}, QUERY)[0] == 403


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/graphql?op=Version", {"Content-Type": "application/json; charset=utf-8"}, QUERY, 200),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}, QUERY, 415),
        ("POST", "/graphql", {"Content-Type": "application/jsonp"}, QUERY, 415),
        ("POST", "/graphql", {"Content-Type": "application/graphql"}, "{ version }", 415),
        ("POST", "/graphql", {"Content-Type": "application/x-www-form-urlencoded"}, "query={version}", 415),
        ("POST", "/graphql", {"Content-Type": "multipart/form-data; boundary=b"}, "--b--", 415),
        ("POST", "/graphql?query={version}", {}, None, 415),
        ("POST", "/graphql", JSON, f"[{QUERY}]", 400),
        ("POST", "/graphql", JSON, "", 400),
        ("POST", "/graphql", JSON, "[" * 100_000, 400),
        ("POST", "/graphql", JSON, b"\xff", 400),
        ("POST", "/graphql", JSON, " " * (MAX_BODY_BYTES + 1), 413),
        ("GET", "/graphql", {"Accept": "text/html"}, None, 200),
        ("GET", "/graphql", {}, None, 405),
        ("GET", "/graphql?query={version}", {}, None, 405),
        ("GET", "/graphql?query={version}", {"Accept": "text/html"}, None, 405),
        ("HEAD", "/graphql?query={version}", {}, None, 405),
        ("PUT", "/graphql", JSON, QUERY, 405),
        ("DELETE", "/graphql", JSON, QUERY, 405),
        ("OPTIONS", "/graphql", {"Access-Control-Request-Method": "POST"}, None, 405),
        ("POST", "/report_asset_materialization/rates", {}, None, 415),
        ("POST", "/report_asset_check/rates?check_name=gaps&passed=true", {}, None, 415),
        ("POST", "/report_asset_observation/rates", {}, None, 415),
        ("POST", "/%72eport_asset_observation/rates", {}, None, 415),
    ],
)
def test_a_change_must_be_json_by_post(
    ui: UI, method: str, path: str, headers: Headers, body: str | bytes | None, status: int
) -> None:
    before = ui.state()
    assert ask(ui, method, path, headers, body)[0] == status
    assert ui.state() == before


def test_a_program_may_make_changes(ui: UI) -> None:
    before = ui.state()
    status, answer = ask(ui, "POST", "/graphql", JSON, json.dumps({"query": mutation("a program")}))
    assert (status, json.loads(answer)) == (200, {"data": {"setConcurrencyLimit": True}})
    assert ask(ui, "POST", "/report_asset_observation/rates", JSON, "{}") == (200, "{}")
    assert ui.state() != before


@pytest.mark.parametrize("name", ["Host", "Origin", "Content-Type", "Authorization", "Sec-Fetch-Site"])
def test_a_repeated_header_is_refused(ui: UI, name: str) -> None:
    headers = {name: "127.0.0.1:PORT", name.lower(): "foreign.example"}
    assert ask(ui, "POST", "/graphql", headers, QUERY)[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 101),
        ({"Origin": "http://127.0.0.1:PORT"}, 101),
        ({"Origin": PUBLIC}, 101),
        ({"Origin": "http://foreign.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "foreign.example", "Origin": "http://foreign.example"}, 403),
    ],
)
def test_a_websocket_is_for_the_servers_own_pages_and_programs(ui: UI, headers: Headers, status: int) -> None:
    assert open_websocket(ui, headers) == status


def open_websocket(ui: UI, headers: Headers) -> int:
    """Return the status of the handshake."""
    sent = {name: value.replace("PORT", ui.port) for name, value in headers.items()}
    host = sent.pop("Host", f"127.0.0.1:{ui.port}")
    to_ui = socket.create_connection(("127.0.0.1", int(ui.port)), timeout=PATIENCE)
    protocol = [Subprotocol("graphql-ws")]
    try:
        with connect(
            f"ws://{host}/graphql", sock=to_ui, subprotocols=protocol, additional_headers=sent
        ) as websocket:
            websocket.send('{"type": "connection_init"}')
            assert json.loads(websocket.recv(60)) == {"type": "connection_ack"}
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    "path", ["/", "/assets", "/graphql", "/server_info", "/favicon.svg", "/no-such-thing"]
)
def test_no_response_can_be_framed_by_another_site(ui: UI, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", int(ui.port), timeout=PATIENCE)) as connection:
        connection.request("GET", path, headers={"Accept": "text/html"})
        response = connection.getresponse()
        policies = response.headers.get_all("Content-Security-Policy", [])
        assert "frame-ancestors 'self'" in policies
        assert response.headers.get_all("X-Frame-Options") == ["SAMEORIGIN"]
        assert response.headers.get_all("X-Content-Type-Options") == ["nosniff"]


def basic(user: str, password: str) -> Headers:
    """Return the header of HTTP Basic authentication (RFC 7617)."""
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        (basic("anyone", PASSWORD), True),
        (basic("", PASSWORD), True),
        ({"Authorization": basic("anyone", PASSWORD)["Authorization"].replace("Basic", "bASIC")}, True),
        ({}, False),
        (basic("anyone", ""), False),
        (basic("anyone", PASSWORD[:-1]), False),
        (basic(PASSWORD, "anyone"), False),
        ({"Authorization": f"Bearer {PASSWORD}".encode().decode("latin-1")}, False),
        ({"Authorization": "Basic not base64"}, False),
        ({"Authorization": "Basic /w=="}, False),
        ({"Authorization": "Basic"}, False),
    ],
)
def test_with_a_password_every_request_but_a_health_check_needs_it(
    locked: UI, headers: Headers, allowed: bool
) -> None:
    status = 200 if allowed else 401
    assert ask(locked, "GET", "/server_info", headers)[0] == 200
    assert ask(locked, "POST", "/server_info", {**JSON, **headers}, QUERY)[0] == (405 if allowed else 401)
    for path in ("/", "/server_info/", "/favicon.svg", "/logs/a/b.err", "/fetch/"):
        assert ask(locked, "GET", path, headers)[0] in ((status, 404) if allowed else (401,))
    assert ask(locked, "POST", "/graphql", {**JSON, **headers}, QUERY)[0] == status
    assert open_websocket(locked, headers) == (101 if allowed else 401)


def test_a_password_does_not_help_a_page_of_another_site(locked: UI) -> None:
    headers = {**JSON, **basic("anyone", PASSWORD), "Origin": "http://foreign.example"}
    assert ask(locked, "POST", "/graphql", headers, QUERY)[0] == 403


def test_the_password_is_not_logged(locked: UI) -> None:
    ask(locked, "GET", "/", basic("anyone", PASSWORD))
    ask(locked, "GET", "/", basic("anyone", f"{PASSWORD}!"))
    log = locked.log.read_text()
    assert "That password is wrong." in log
    assert "fish" not in log
    assert basic("anyone", PASSWORD)["Authorization"].split()[1] not in log


@pytest.mark.slow
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_without_a_password_only_this_machine_is_served(
    tmp_path_factory: pytest.TempPathFactory, host: str
) -> None:
    folder = tmp_path_factory.mktemp("open")
    with reserved_port() as port:
        done = run_command(folder, "webserver", "--host", host, "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Anyone who can reach {host} could use the Dagster UI. Set FX_DAGSTER_PASSWORD" in done.stderr
    assert list(folder.iterdir()) == []


def test_a_busy_port_is_reported_in_one_line(ui: UI) -> None:
    done = run_command(ui.home, "webserver", "--port", ui.port)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"The Dagster UI cannot listen on 127.0.0.1:{ui.port}: Address already in use." in done.stderr


@pytest.mark.parametrize(
    "name", ["https://dagster.lan", "dagster.lan:3000", "*.lan", "dagster.lan/ui", "a b"]
)
def test_an_allowed_host_is_a_bare_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    done = run_command(tmp_path_factory.mktemp("named"), "webserver", FX_ALLOWED_HOSTS=name)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"FX_ALLOWED_HOSTS cannot be used: {name!r} is not a host name" in done.stderr
