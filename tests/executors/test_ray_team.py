from __future__ import annotations

import socket

import ray  # noqa: F401 # brings psutil along

from icf.executors.ray_team import find_interface


def test_the_interface_of_an_address_is_found() -> None:
    names = {name for _, name in socket.if_nameindex()}
    assert find_interface("127.0.0.1") in names
    assert find_interface("127.0.0.1").startswith("lo")
    assert not find_interface("192.0.2.1")  # set aside for documentation
