"""Connections to what obstore can talk to. Importing this module does not import obstore."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tidemill.model.errors import ConfigError, MissingExtraError, UsageError
from tidemill.stores.objects.failures import first_line, talking
from tidemill.stores.objects.urls import bucket_place, scheme_of, shown

if TYPE_CHECKING:
    from obstore.store import (
        AzureConfig,
        AzureStore,
        ClientConfig,
        GCSConfig,
        GCSStore,
        MemoryStore,
        RetryConfig,
        S3Config,
        S3Store,
    )

    Backend = AzureStore | GCSStore | MemoryStore | S3Store

_SETTINGS = ("AWS_", "AZURE_", "GOOGLE_")
_COMMON = ("endpoint", "anonymous", "timeout", "retries")

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


def backend(url: str, prefix: str) -> "Backend":
    """A connection to the bucket of an `s3:`, `gs:`, `az:` or `memory:` URL, for the keys under `prefix`.

    Raises:
        ConfigError: for an unknown or malformed option.
        MissingExtraError: if obstore is not installed.
    """
    place = bucket_place(url)
    if scheme_of(url) == "memory":
        return memory_backend(f"memory://{place.bucket}")
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith(_SETTINGS)))
    query = urlencode(sorted(place.options.items()))
    return _connected(f"{scheme_of(url)}://{place.bucket}?{query}", prefix, settings, os.getpid())


@lru_cache(16)
def _connected(url: str, prefix: str, settings: tuple[tuple[str, str], ...], process: int) -> "Backend":
    """A connection is made once for what it depends on: one that is new for each file would shake hands each time."""
    del settings, process
    scheme = scheme_of(url)
    if scheme == "gs":
        return gs_backend(url, prefix)
    return az_backend(url, prefix) if scheme == "az" else s3_backend(url, prefix)


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
    with _configuring(url):
        return S3Store(place.bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry)


def gs_backend(url: str, prefix: str) -> "GCSStore":
    """A connection to the bucket of a `gs:` URL: Google Cloud Storage.

    Settings come from the environment (`GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_BASE_URL`,
    …) and from the query of the URL: `endpoint`, `anonymous`, `timeout` and `retries`, as for `s3_backend`.

    Raises:
        ConfigError: for an unknown or malformed option.
        MissingExtraError: if obstore is not installed.
    """
    try:
        from obstore.store import GCSStore
    except ImportError:
        raise MissingExtraError("Google Cloud Storage", "s3") from None
    place = bucket_place(url)
    _refuse_unknown(place.options, {*_COMMON}, "gs")
    config: GCSConfig = {}
    if endpoint := place.options.get("endpoint", ""):
        config["base_url"] = endpoint
    if _flag(place.options, "anonymous"):
        config["skip_signature"] = True
    client, retry = _connection(place.options, endpoint or os.environ.get("GOOGLE_BASE_URL", ""))
    with _configuring(url):
        return GCSStore(place.bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry)


def az_backend(url: str, prefix: str) -> "AzureStore":
    """A connection to the container of an `az:` URL: Azure Blob Storage.

    Settings come from the environment (`AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`,
    `AZURE_STORAGE_SAS_TOKEN`, `AZURE_STORAGE_ENDPOINT`, …) and from the query of the URL: `account`, the name of the
    storage account, `endpoint`, `anonymous`, `timeout` and `retries`, as for `s3_backend`.

    Raises:
        ConfigError: for an unknown or malformed option, or if no account is named.
        MissingExtraError: if obstore is not installed.
    """
    try:
        from obstore.store import AzureStore
    except ImportError:
        raise MissingExtraError("Azure Blob Storage", "s3") from None
    place = bucket_place(url)
    _refuse_unknown(place.options, {*_COMMON, "account"}, "az")
    config: AzureConfig = {}
    if "account" in place.options:
        config["account_name"] = place.options["account"]
    if endpoint := place.options.get("endpoint", ""):
        config["endpoint"] = endpoint
    if _flag(place.options, "anonymous"):
        config["skip_signature"] = True
    named = endpoint or os.environ.get("AZURE_STORAGE_ENDPOINT") or os.environ.get("AZURE_ENDPOINT", "")
    client, retry = _connection(place.options, named)
    with _configuring(url):
        return AzureStore(place.bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry)


_LONGEST_S = 7 * 24 * 3600


def sign(connection: "Backend", key: str, place: str, expires: float) -> str | None:
    """An address at which a key can be read without credentials for `expires` seconds; None for memory, which has none.

    Raises:
        UsageError: if that is more than a week, or nothing.
        StoreError: if these credentials cannot sign.
    """
    import obstore
    from obstore.store import MemoryStore

    if not 1 <= expires <= _LONGEST_S:
        raise UsageError(f"an address can be valid for 1 to {_LONGEST_S} seconds, not for {expires:g}")
    if isinstance(connection, MemoryStore):
        return None
    with talking(place):
        return obstore.sign(connection, "GET", key, timedelta(seconds=expires))


@contextmanager
def _configuring(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ConfigError(f"cannot use {shown(url)}: {first_line(error)}") from error


def check_s3(url: str) -> None:
    """Look at an `s3:` address without using it.

    Raises:
        ConfigError: if it names no bucket, has credentials in it, or an unknown or malformed option.
    """
    _s3_options(bucket_place(url).options)


def _s3_options(options: dict[str, str]) -> "tuple[S3Config, ClientConfig, RetryConfig]":
    _refuse_unknown(options, {*_COMMON, "region", "virtual_host"}, "s3")
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
    return config, *_connection(options, endpoint)


def _refuse_unknown(options: dict[str, str], known: set[str], scheme: str) -> None:
    if unknown := sorted(set(options) - known):
        raise ConfigError(
            f"unknown option {unknown[0]!r} in an {scheme}: address", hint=f"Known: {', '.join(sorted(known))}."
        )


def _connection(options: dict[str, str], endpoint: str) -> "tuple[ClientConfig, RetryConfig]":
    client: ClientConfig = {
        "read_timeout": f"{_number(options, 'timeout', 120)}s",
        # For a whole request, with its body: that of a large object takes long and is no reason to give up.
        "timeout": "24h",
        "allow_http": endpoint.startswith("http://"),
    }
    return client, {"max_retries": _number(options, "retries", 10)}


def _flag(options: dict[str, str], name: str) -> bool:
    value = options.get(name, "false")
    if value not in ("true", "false"):
        raise ConfigError(f"option {name}={value} in an address must be true or false")
    return value == "true"


def _number(options: dict[str, str], name: str, default: int) -> int:
    value = options.get(name, str(default))
    if not value.isdecimal():
        raise ConfigError(f"option {name}={value} in an address must be a whole number")
    return int(value)
