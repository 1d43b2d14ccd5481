from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from icf.errors import IcfError
from icf.executors import ray_access
from icf.executors.ray_access import find_host, has_token, is_loopback, probe, require_loopback_or_token


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.1:6379", "10.0.0.1"),
        ("http://head:8265", "head"),
        ("https://head/", "head"),
        ("ray://head:10001", "head"),
        ("[::1]:6379", "::1"),
        ("head", "head"),
        ("", ""),
    ],
)
def test_host_of_an_address(address: str, host: str) -> None:
    assert find_host(address) == host


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("fe80::1", False),
        ("::", False),
        ("", False),
        ("no-such-host.invalid", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_a_cluster_on_the_network_is_used_with_a_token_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    require_loopback_or_token("127.0.0.1:6379")
    with pytest.raises(IcfError, match="on the network, and RAY_AUTH_MODE is not 'token'") as refusal:
        require_loopback_or_token("10.0.0.1:6379")
    assert "ray get-auth-token --generate" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    monkeypatch.delenv("RAY_AUTH_MODE")
    with pytest.raises(IcfError):
        require_loopback_or_token("10.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    require_loopback_or_token("10.0.0.1:6379")


@pytest.fixture
def dashboard() -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """Something that answers as a dashboard would; the test says with which status and text."""
    answers: dict[str, tuple[int, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answers[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    thread.join()
    server.server_close()


VERSION = b'{"version": "4", "ray_version": "2.60.0"}'


@pytest.mark.parametrize(
    ("answer", "status"),
    [((200, VERSION), 200), ((401, b""), 401), ((403, b""), 403), ((404, b""), 404), ((200, b"<html>"), 404)],
)
def test_a_dashboard_is_asked_without_a_token(
    dashboard: tuple[str, dict[str, tuple[int, bytes]]], answer: tuple[int, bytes], status: int
) -> None:
    url, answers = dashboard
    answers["/api/version"] = answer
    assert probe(url) == status


def test_what_is_no_dashboard() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert probe(f"http://127.0.0.1:{closed.getsockname()[1]}") is None
    assert probe("http://") is None


def test_a_cluster_on_the_network_that_asks_nobody_is_refused(
    dashboard: tuple[str, dict[str, tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = dashboard
    answers["/api/version"] = (200, VERSION)
    assert ray_access.require_protection(url) == 200
    monkeypatch.setattr(ray_access, "is_loopback", lambda host: False)
    with pytest.raises(IcfError, match="takes orders from everybody on the network"):
        ray_access.require_protection(url)
    answers["/api/version"] = (401, b"")
    assert ray_access.require_protection(url) == 401


def test_a_token_is_found_where_ray_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert not has_token()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    assert has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert not has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert has_token()


USAGE = """
from icf.executors.ray_session import set_quiet
set_quiet()
from ray._common.usage import usage_lib
print(usage_lib.usage_stats_enabled())
"""


def test_no_usage_statistics_are_sent() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    result = subprocess.run([sys.executable, "-c", USAGE], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


EARLY = """
import ray
from icf.executors.ray_session import ray_session
ray.util.get_node_ip_address = lambda: "192.0.2.2"
with ray_session(num_cpus=1):
    print("started")
"""


def test_a_session_that_would_listen_on_the_network_is_refused() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    result = subprocess.run(
        [sys.executable, "-c", EARLY], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "started" not in result.stdout
    assert "Ray was imported before icf could bind it to this machine" in result.stderr
