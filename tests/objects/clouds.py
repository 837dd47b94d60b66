"""A server that speaks what Google Cloud Storage and Azure Blob Storage have in common with it: a few requests each.

It is no proof that the real services answer like this; it follows their published descriptions:
https://cloud.google.com/storage/docs/xml-api/overview and
https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

WHEN = "Fri, 20 Nov 2026 12:00:00 GMT"
WHEN_ISO = "2026-11-20T12:00:00.000Z"
BUCKET = "things"
PAGE = 3
"""Names in one page of a listing, unless a test wants longer ones."""


class Clouds(ThreadingHTTPServer):
    """Files of one bucket in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.parts: dict[str, dict[str, bytes]] = {}
        self.gone: set[str] = set()
        """Listed, and not to be had."""
        self.page = PAGE
        self.pages = 0
        self.refuse = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def url(self, scheme: str, key: str) -> str:
        more = "&account=me&anonymous=true" if scheme == "az" else ""
        return f"{scheme}://{BUCKET}/{key}?endpoint={self.endpoint}&retries=0{more}"


def tag(data: bytes) -> str:
    return '"' + hashlib.md5(data, usedforsecurity=False).hexdigest() + '"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Clouds

    def split(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        _, bucket, *key = unquote(parts.path).split("/", 2)
        return bucket, key[0] if key else "", query

    def do_GET(self) -> None:
        bucket, key, query = self.split()
        if self.server.refuse:
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif bucket != BUCKET:
            code = "ContainerNotFound" if "comp" in query else "NoSuchBucket"
            self.answer(404, f"<Error><Code>{code}</Code></Error>".encode())
        elif query.get("comp") == "list" or "list-type" in query:
            self.answer(200, self.listing(query), Content_Type="application/xml")
        elif key in self.server.files and key not in self.server.gone:
            self.content(self.server.files[key])
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        self.do_GET()

    def content(self, data: bytes) -> None:
        asked = self.headers.get("Range") or self.headers.get("x-ms-range")
        headers = {"ETag": tag(data), "Last_Modified": WHEN, "Content_Type": "application/octet-stream"}
        if not asked:
            self.answer(200, data, **headers)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        where = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        self.answer(206, part, Content_Range=where, **headers)

    def listing(self, query: dict[str, str]) -> bytes:
        self.server.pages += 1
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("marker", ""))
        keys = sorted(key for key in self.server.files if key.startswith(prefix))

        def shown(key: str) -> tuple[str, bool]:
            head, slash, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            return (prefix + head + slash, True) if slash else (key, False)

        names = [name for name, _ in groupby(map(shown, keys)) if name[0] > after]
        page, more = names[: self.server.page], len(names) > self.server.page
        return (self.azure if "comp" in query else self.google)(page, page[-1][0] if more else "").encode()

    def google(self, page: list[tuple[str, bool]], after: str) -> str:
        lines = []
        for name, is_prefix in page:
            if is_prefix:
                lines.append(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>")
                continue
            data = self.server.files[name]
            about = f"<Size>{len(data)}</Size><LastModified>{WHEN_ISO}</LastModified><ETag>{tag(data)}</ETag>"
            lines.append(f"<Contents><Key>{escape(name)}</Key>{about}</Contents>")
        token = f"<NextContinuationToken>{escape(after)}</NextContinuationToken>" if after else ""
        return f"<ListBucketResult>{token}{''.join(lines)}</ListBucketResult>"

    def azure(self, page: list[tuple[str, bool]], after: str) -> str:
        lines = []
        for name, is_prefix in page:
            if is_prefix:
                lines.append(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>")
                continue
            data = self.server.files[name]
            about = f"<Last-Modified>{WHEN}</Last-Modified><Content-Length>{len(data)}</Content-Length>"
            about += f"<Content-Type>application/octet-stream</Content-Type><Etag>{tag(data)}</Etag>"
            lines.append(f"<Blob><Name>{escape(name)}</Name><Properties>{about}</Properties></Blob>")
        marker = f"<NextMarker>{escape(after)}</NextMarker>" if after else "<NextMarker />"
        return f"<EnumerationResults><Blobs>{''.join(lines)}</Blobs>{marker}</EnumerationResults>"

    def do_POST(self) -> None:
        """Google's uploads in parts."""
        _, key, query = self.split()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "uploads" in query:
            self.server.parts[key] = {}
            self.answer(
                200,
                b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>",
            )
            return
        numbers = [found.text or "" for found in ET.fromstring(body).iter() if found.tag.endswith("PartNumber")]
        parts = self.server.parts.pop(key)
        self.server.files[key] = b"".join(parts[number] for number in numbers)
        done = (
            f"<CompleteMultipartUploadResult><ETag>{tag(self.server.files[key])}</ETag></CompleteMultipartUploadResult>"
        )
        self.answer(200, done.encode())

    def do_DELETE(self) -> None:
        """An upload is given up."""
        self.server.parts.pop(self.split()[1], None)
        self.answer(204, b"")

    def do_PUT(self) -> None:
        bucket, key, query = self.split()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.refuse or bucket != BUCKET:
            code, text = (403, "AccessDenied") if self.server.refuse else (404, "NoSuchBucket")
            self.answer(code, f"<Error><Code>{text}</Code></Error>".encode())
            return
        if part := query.get("partNumber") or query.get("blockid"):
            self.server.parts.setdefault(key, {})[part] = body
        elif query.get("comp") == "blocklist":
            blocks = [found.text or "" for found in ET.fromstring(body)]
            parts = self.server.parts.pop(key)
            self.server.files[key] = b"".join(parts[name] for name in blocks)
        else:
            self.server.files[key] = body
        self.answer(201 if "x-ms-version" in self.headers else 200, b"", ETag=tag(body))

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def clouds() -> Iterator[Clouds]:
    """A server while the block lasts."""
    with Clouds() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
