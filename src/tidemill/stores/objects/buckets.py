"""Connections to what obstore can talk to. Importing this module does not import obstore."""

import os
import threading
from typing import TYPE_CHECKING

from tidemill.model.errors import ConfigError, MissingExtraError
from tidemill.stores.objects.failures import first_line
from tidemill.stores.objects.urls import bucket_place, shown

if TYPE_CHECKING:
    from obstore.store import ClientConfig, MemoryStore, RetryConfig, S3Config, S3Store

_memories: "dict[str, MemoryStore]" = {}
_memories_lock = threading.Lock()


def memory_backend(url: str) -> "MemoryStore":
    """The memory that `memory://name` stands for in this process; it lasts as long as the process.

    Raises:
        MissingExtraError: if obstore is not installed.
    """
    try:
        from obstore.store import MemoryStore
    except ImportError:
        raise MissingExtraError("the in-memory object store", "s3") from None
    with _memories_lock:
        return _memories.setdefault(url, MemoryStore())


def s3_backend(url: str, prefix: str) -> "S3Store":
    """A connection to the bucket of an `s3:` URL, for the keys under `prefix`.

    Settings come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`,
    `AWS_ENDPOINT_URL`, …) and, with precedence, from the query of the URL:

    * `endpoint`: URL of a server other than Amazon's; one that begins with `http://` is talked to in plain text;
    * `region`;
    * `anonymous=true`: do not sign requests, for public buckets;
    * `virtual_host=true`: the endpoint has the bucket's name in it;
    * `timeout`: seconds without an answer before a request is given up, 120;
    * `retries`: how often a request is repeated, 10.

    Raises:
        ConfigError: for an unknown or malformed option.
        MissingExtraError: if obstore is not installed.
    """
    try:
        from obstore.store import S3Store
    except ImportError:
        raise MissingExtraError("the S3 object store", "s3") from None
    place = bucket_place(url)
    config, client, retry = _s3_options(place.options)
    try:
        return S3Store(place.bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry)
    except Exception as error:
        raise ConfigError(f"cannot use {shown(url)}: {first_line(error)}") from error


def check_s3(url: str) -> None:
    """Look at an `s3:` address without using it.

    Raises:
        ConfigError: if it names no bucket, has credentials in it, or an unknown or malformed option.
    """
    _s3_options(bucket_place(url).options)


def _s3_options(options: dict[str, str]) -> "tuple[S3Config, ClientConfig, RetryConfig]":
    known = {"endpoint", "region", "anonymous", "virtual_host", "timeout", "retries"}
    if unknown := sorted(set(options) - known):
        raise ConfigError(
            f"unknown option {unknown[0]!r} in an s3: address", hint=f"Known: {', '.join(sorted(known))}."
        )
    config: S3Config = {}
    if "endpoint" in options:
        config["endpoint"] = options["endpoint"]
    if "region" in options:
        config["region"] = options["region"]
    if _flag(options, "anonymous"):
        config["skip_signature"] = True
    if _flag(options, "virtual_host"):
        config["virtual_hosted_style_request"] = True
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = options.get("endpoint") or next((os.environ[name] for name in names if os.environ.get(name)), "")
    client: ClientConfig = {
        "read_timeout": f"{_number(options, 'timeout', 120)}s",
        # For a whole request, with its body: that of a large object takes long and is no reason to give up.
        "timeout": "24h",
        "allow_http": endpoint.startswith("http://"),
    }
    return config, client, {"max_retries": _number(options, "retries", 10)}


def _flag(options: dict[str, str], name: str) -> bool:
    value = options.get(name, "false")
    if value not in ("true", "false"):
        raise ConfigError(f"option {name}={value} in an s3: address must be true or false")
    return value == "true"


def _number(options: dict[str, str], name: str, default: int) -> int:
    value = options.get(name, str(default))
    if not value.isdecimal():
        raise ConfigError(f"option {name}={value} in an s3: address must be a whole number")
    return int(value)
