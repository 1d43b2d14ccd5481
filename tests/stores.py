"""A server of S3 on this machine, for runs whose copies are kept at an address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "icf-runs"


@contextmanager
def serve_s3(host: str = "127.0.0.1") -> Iterator[dict[str, str]]:
    """Yield the variables with which a process reaches the server, which has one bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(host, 0, verbose=False)
    server.start()
    try:
        address, port = server.get_host_and_port()
        yield VARIABLES | {"AWS_ENDPOINT_URL": f"http://{address}:{port}"}
    finally:
        server.stop()
