"""S3 servers for the tests, each started as a process of its own."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

KEY = "tidemilltestkey"
SECRET = "tidemilltestsecret"
BUCKET = "tidemill-tests"
S3_PAGE = 50
"""Names in one page of the simulated server's listings."""
ROOT = Path(__file__).parents[2]


class S3Server(NamedTuple):
    """A running S3 server with an empty bucket, and another client for it than the one under test."""

    endpoint: str
    client: Any

    def fresh_url(self, bucket: str = BUCKET, **options: object) -> str:
        """The address of an empty store."""
        query = "".join(f"&{name}={value}" for name, value in options.items())
        return f"s3://{bucket}/{secrets.token_hex(8)}/objects?endpoint={self.endpoint}&region=us-east-1{query}"


def connect(endpoint: str) -> S3Server:
    import boto3  # type: ignore[import-untyped]

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    return S3Server(endpoint, client)


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto's server on a port that the kernel chooses; it says which."""
    command = [sys.executable, "-u", "-m", "moto.server", "-p", "0"]
    environment = os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": str(S3_PAGE)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stderr
        try:
            said = ""
            while not (match := re.search(r"http://127\.0\.0\.1:\d+", said)):
                line = process.stderr.readline()
                assert line, f"moto has not started:\n{said}"
                said += line
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            yield connect(match[0])
            process.kill()
            drain.wait()
        finally:
            process.kill()


@contextmanager
def ceph_server(directory: Path) -> Iterator[S3Server]:
    """A Ceph cluster of one monitor, one OSD and one radosgw in `directory`."""
    script = str(ROOT / "tools" / "ceph-up.sh")
    environment = os.environ | {"S3_KEY": KEY, "S3_SECRET": SECRET}
    try:
        started = subprocess.run([script, directory], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        yield connect(started.stdout.split()[-1])
    finally:
        subprocess.run([script, "--stop", directory], check=True)
