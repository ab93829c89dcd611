"""The types of settings: what a value may be, and what a message says about any other.

A check raises ValueError with a text that follows "NAME cannot be used: ". A text about a secret does not
repeat it.
"""

import datetime as dt
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr
from pydantic_settings import NoDecode

from fx_pipeline.clock import today
from fx_pipeline.postgres import check_postgres_url
from fx_pipeline.replica_url import check_replica_url
from fx_pipeline.serving.hosts import is_host_name
from fx_pipeline.serving.prefix import is_prefix, prefix_of

_QUOTES = ('"', "'")


def bare(value: str) -> str:
    """Return the value without surrounding white space and one pair of quotation marks."""
    value = value.strip()
    quote = value[:1]
    if quote in _QUOTES and len(value) > 1 and value.endswith(quote) and quote not in value[1:-1]:
        return value[1:-1].strip()
    return value


def check_quotes(value: str) -> None:
    """Raise ValueError if the value begins or ends with a quotation mark."""
    if value.startswith(_QUOTES) or value.endswith(_QUOTES):
        raise ValueError("it begins or ends with a quotation mark: remove it, or quote the whole value")


def is_access_key(text: str) -> bool:
    """Return whether the text can be a key of Fixer: ASCII without white space, and not empty."""
    return re.fullmatch(r"[!-~]+", text) is not None


def _is_long_enough(days: int) -> int:
    if 0 < days < 14:  # alerts compare findings with those of the last seven days
        raise ValueError("it is less than 14: alerts need the runs of the last days. 0 keeps all runs")
    return days


def _is_past(date: dt.date) -> dt.date:
    if not dt.date(1999, 1, 1) <= date < today():
        raise ValueError("must be between 1999-01-01, when Fixer's history begins, and yesterday")
    return date


def _absolute(path: Path) -> Path:
    """Return the absolute path, with `~` expanded. Raise ValueError if some part cannot use the path."""
    if str(path).startswith("$"):
        raise ValueError("it begins with a variable, which is not expanded here: write the full path")
    try:
        absolute = path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("it begins with ~, but there is no such home folder") from None
    if not str(absolute).isprintable():
        raise ValueError("the path contains a character that cannot be printed")
    if "?" in str(absolute) or "%" in str(absolute):
        raise ValueError(f"Dagster cannot open a path with a ? or %, such as {absolute}")
    return absolute


def _names_a_file(value: object) -> object:
    if isinstance(value, str) and value.endswith("/"):
        raise ValueError(f"{value} is a folder: add a file name, such as fx.db")
    return value


def _is_database(path: Path) -> Path:
    if path.name in ("tokens.db", "token-uses.db"):
        raise ValueError(f"{path.name} is reserved for the API tokens in the same folder")
    if os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises if a folder cannot be read
        raise ValueError(f"{path} is a folder: add a file name, such as fx.db")
    return path


def _is_folder(path: Path) -> Path:
    if os.path.isfile(path):  # noqa: PTH113  # as above
        raise ValueError(f"{path} is a file: name a folder")
    return path


def _http(url: str) -> str:
    """Return the address without a slash at its end. Raise ValueError if it cannot be shown or used."""
    HttpUrl(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:  # its text has a part of the address
        host = None
    if not host:
        raise ValueError("it is not an address such as https://example.com")
    if "@" in parts.netloc:  # the address is shown, also in logs
        raise ValueError("it must have no user and no password")
    return url.rstrip("/")


def _has_no_query(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("it must have no ? and no #: the key belongs only in FIXER_ACCESS_KEY")
    return url


def _has_simple_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.query or parts.fragment or not is_prefix(prefix_of(url)):
        raise ValueError(
            "after the host it may have only a path of letters, digits and - . _ ~, such as "
            "https://example.com/fx"
        )
    return url


def _is_host_and_port(address: str) -> str:
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not (host and is_port) or {"/", "@"} & set(address):
        raise ValueError("it is not a host and a port, such as code:4000")
    return address


def _is_asset_prefix(prefix: str) -> str:
    if prefix and not re.fullmatch(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*", prefix):
        raise ValueError(
            "it may have letters, digits and _, and a / between its parts, such as finance/fixer"
        )
    return prefix


def _at_commas(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    for code in codes:
        if not (len(code) == 3 and code.isascii() and code.isalpha()):
            raise ValueError(f"{code!r} is not a currency code of three letters")
        if code not in (code.upper(), code.lower()):  # GBp is the penny, not the pound
            raise ValueError(f"{code!r} mixes upper and lower case: write {code.upper()!r} if you mean that")
    return tuple(map(str.upper, codes))


def _are_host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not is_host_name(name):
            raise ValueError(f"{name!r} is not a host name: give no scheme, port, path or wildcard")
    return names


def _at_white_space(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


def _is_key(key: SecretStr) -> SecretStr:
    if not is_access_key(key.get_secret_value()):
        raise ValueError("it contains white space or a non-ASCII character: copy the key again")
    return key


def _is_dsn(dsn: SecretStr) -> SecretStr:
    from sentry_sdk.utils import Dsn  # noqa: PLC0415  # only if it is set: it takes time

    try:
        Dsn(dsn.get_secret_value())
    except ValueError:
        raise ValueError("it must have the form https://KEY@HOST/PROJECT, as Sentry shows it") from None
    return dsn


def _is_postgres(url: SecretStr) -> SecretStr:
    check_postgres_url(url.get_secret_value())
    return url


def _replica(url: SecretStr) -> SecretStr:
    return SecretStr(check_replica_url(url.get_secret_value()))


def _is_web_address(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:  # its text has a part of the address
        usable = False
    if not usable or not url.get_secret_value().isascii() or parts.fragment:
        raise ValueError("it is not an address such as https://hc-ping.com/UUID")
    return url


Port = Annotated[int, Field(ge=1, le=65535)]
HistoryDays = Annotated[int, Field(ge=0), AfterValidator(_is_long_enough)]
StartDate = Annotated[dt.date, AfterValidator(_is_past)]

DatabaseFile = Annotated[
    Path, BeforeValidator(_names_a_file), AfterValidator(_absolute), AfterValidator(_is_database)
]
Folder = Annotated[Path, AfterValidator(_absolute), AfterValidator(_is_folder)]

ProviderAddress = Annotated[str, AfterValidator(_http), AfterValidator(_has_no_query)]
PublicAddress = Annotated[str, AfterValidator(_http), AfterValidator(_has_simple_path)]
HostAndPort = Annotated[str, AfterValidator(_is_host_and_port)]
AssetPrefix = Annotated[str, AfterValidator(_is_asset_prefix)]

Codes = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_at_commas), AfterValidator(_codes)]
HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_at_commas), AfterValidator(_are_host_names)]

AccessKey = Annotated[SecretStr, AfterValidator(_is_key)]
SentryDsn = Annotated[SecretStr, AfterValidator(_is_dsn)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_is_postgres)]
ReplicaUrl = Annotated[SecretStr, AfterValidator(_replica)]
SecretAddress = Annotated[SecretStr, AfterValidator(_is_web_address)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_at_white_space)]


def _is_time_of_day(value: str) -> str:
    if value != "off" and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value) is None:
        raise ValueError("it is neither a time of day such as 07:00 nor off")
    return value


TimeOfDay = Annotated[str, AfterValidator(_is_time_of_day)]
