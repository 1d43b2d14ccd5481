from __future__ import annotations

import socket

import pytest

from icf.executors.ray_session import EMBEDDED


def test_the_interface_of_an_address_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray, which brings psutil along, is imported with the settings of a session: other tests share this process.
    for name, value in EMBEDDED.items():
        monkeypatch.setenv(name, value)
    from icf.executors.ray_team import find_interface

    names = {name for _, name in socket.if_nameindex()}
    assert find_interface("127.0.0.1") in names
    assert find_interface("127.0.0.1").startswith("lo")
    assert not find_interface("192.0.2.1")  # set aside for documentation
