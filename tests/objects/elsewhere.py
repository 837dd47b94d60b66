"""Places of every kind that files are fetched from and sent to, each empty and with an address to put files below."""

import os
import secrets
from pathlib import Path
from urllib.parse import quote

from tests.objects.clouds import Clouds
from tests.objects.servers import BUCKET, S3Server
from tests.objects.web import Web

BUCKETS = ("memory", "s3", "gs", "az")
LISTED = ("path", "file", *BUCKETS)
KINDS = (*LISTED, "http")


class Elsewhere:
    """Addresses below an empty place of one kind.

    Args:
        kind: one of `KINDS`.
        directory: an empty directory.
        moto, cloud, web: servers.
    """

    def __init__(self, kind: str, directory: Path, moto: S3Server, cloud: Clouds, web: Web) -> None:
        self.kind = kind
        self._directory = directory
        self._prefix = secrets.token_hex(6)
        self._moto, self._cloud, self._web = moto, cloud, web

    def url(self, path: str) -> str:
        """The address of a path."""
        key = f"{self._prefix}/{quote(path)}"
        if self.kind == "path":
            return f"{self._directory}/{path}"
        if self.kind == "file":
            return f"file://{quote(str(self._directory))}/{quote(path)}"
        if self.kind == "memory":
            return f"memory://{self._prefix}/{key}"
        if self.kind == "s3":
            return f"s3://{BUCKET}/{key}?endpoint={self._moto.endpoint}&region=us-east-1&retries=0"
        if self.kind == "http":
            return f"{self._web.url}/{key}"
        return self._cloud.url(self.kind, key)

    def parent(self, path: str) -> None:
        """Make the directory that a path is in, where there are directories."""
        if self.kind in ("path", "file"):
            os.makedirs(os.path.dirname(f"{self._directory}/{path}"), exist_ok=True)
