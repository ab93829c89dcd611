"""Checks the parameters of Datasette's tables before SQL is made from them.

Datasette 0.65.5 ignores some unknown parameters, so a client would get rows that it did not ask for. It
passes others to SQLite, whose errors quote SQL.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from datasette import Request
from datasette.app import Datasette
from datasette.filters import FilterArguments, Filters
from datasette.utils import tilde_encode, urlsafe_components
from datasette.utils.asgi import BadRequest

from fx_pipeline.api.endpoints.parameters import quoted
from fx_pipeline.rates import NoSuchDate, parse_date

_FIRST, _LAST = "$null", "\U0010ffff"
"""Datasette's name for NULL, which sorts before all values, and a text that sorts after all."""

_START = re.compile(rf"({re.escape(tilde_encode(_LAST))}|{re.escape(_FIRST)})(,(-1)?)+")

_NAMES = """
    _size _next _sort _sort_desc _sort_by_desc _col _nocol _shape _nl _json _json_infinity _labels
    _label _nocount _nofacet _nosuggest _timelimit _ttl _where _through _dl _header _stream _blob_column
    _blob_hash
"""
_KNOWN = frozenset(_NAMES.split())
_KNOWN_STARTS = ("_facet", "_filter_column", "_filter_op", "_filter_value")
_LOOKUPS = frozenset(lookup for lookup, _, _ in Filters([]).lookups())
_COMPARISONS = frozenset({"exact", "not", "gt", "gte", "lt", "lte", "in", "notin"})
_NUMERIC = ("INTEGER", "REAL")
_DATES = frozenset({"date", "start_date", "end_date", "first_date", "last_date"})
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class _Table:
    """The columns of a table, and how its rows are sorted."""

    types: Mapping[str, str]
    keys: Sequence[str]
    sort: str | None
    descends: bool

    def is_number(self, column: str) -> bool:
        return self.types[column] in _NUMERIC


async def check(datasette: Datasette, database: str, table: str, request: Request) -> FilterArguments:
    """Return no filters. Raise BadRequest for a parameter that has no meaning for the table."""
    known = await _describe(datasette, database, table, request)
    args = request.args
    for name in args:
        if not _is_filter(name):
            _check_name(name)
    for name, value in filters_of(request):
        _check_filter(name, value, known)
    if args.get("_next"):
        _check_next(args["_next"], known)
    elif known.sort in known.types:
        _start_pages(request, known)
    return FilterArguments([])


def filters_of(request: Request) -> list[tuple[str, str]]:
    """Return the conditions of a request for a table: each is a name, such as date__gte, and a value."""
    args = request.args
    return [(name, value) for name in args if _is_filter(name) for value in args.getlist(name)]


def parts(value: str) -> Iterable[str]:
    """Yield the values of a list, which has commas or is a JSON array."""
    return (part.strip(' "') for part in value.strip("[]").split(","))


async def _describe(datasette: Datasette, database: str, table: str, request: Request) -> _Table:
    db = datasette.get_database(database)
    columns = await db.table_column_details(table)
    keys = await db.primary_keys(table)
    chosen = request.args if request.args.get("_sort") or request.args.get("_sort_desc") else {}
    default = datasette.table_metadata(database, table) if not chosen else {}
    descending = chosen.get("_sort_desc") or default.get("sort_desc")
    return _Table(
        types={column.name: column.type for column in columns},
        keys=keys,
        sort=chosen.get("_sort") or default.get("sort") or descending,
        descends=bool(descending),
    )


def _start_pages(request: Request, table: _Table) -> None:
    """Request the first page like a later one, starting before the first row.

    Datasette 0.65.5 sorts equal rows by their key on later pages but not on the first. So the pages together
    miss some rows and repeat others.
    """
    before = [tilde_encode(_LAST) if table.descends else _FIRST]
    before += ["-1" if table.is_number(key) else "" for key in table.keys]
    query = (
        request.query_string + ("&" if request.query_string else "") + urlencode({"_next": ",".join(before)})
    )
    request.scope = {**request.scope, "query_string": query.encode("latin-1")}


def without_start(url: str) -> str:
    """Return a link to a page of a table, without the start that `_start_pages` gave the first page."""
    path, _, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name != "_next" or not _START.fullmatch(value)]
    return f"{path}?{urlencode(kept)}" if kept else path


def _is_filter(name: str) -> bool:
    return not name.startswith("_") or "__" in name


def _check_name(name: str) -> None:
    if name not in _KNOWN and not name.startswith(_KNOWN_STARTS):
        raise BadRequest(f"A table has no parameter {quoted(name)}.")


def _check_filter(name: str, value: str, table: _Table) -> None:
    column, _, lookup = name.rpartition("__") if "__" in name else (name, "", "exact")
    if column not in table.types:
        raise BadRequest(f"There is no column {quoted(column)}. The columns are {', '.join(table.types)}.")
    if lookup not in _LOOKUPS:
        raise BadRequest(
            f"There is no condition {quoted(lookup)}. The conditions are {', '.join(sorted(_LOOKUPS))}."
        )
    if lookup in _COMPARISONS:
        for part in parts(value) if lookup in ("in", "notin") else [value]:
            _check_value(column, part.strip(), table)


def _check_value(column: str, value: str, table: _Table) -> None:
    """Raise BadRequest for a bad number or date. SQLite would compare it as text: every rate is < '1,5'."""
    if table.is_number(column) and _NUMBER.fullmatch(value) is None:
        raise BadRequest(
            f"{column} is a number, and {quoted(value)} is not. Write digits, with a point before "
            "the decimals."
        )
    if column in _DATES and _DATE.fullmatch(value) is None:
        raise BadRequest(f"{column} is a date, and {quoted(value)} is not. Write it as YYYY-MM-DD.")
    if column in _DATES and len(value) == len("YYYY-MM-DD"):
        try:
            parse_date(value)
        except NoSuchDate as error:
            raise BadRequest(f"{column}: {error}.") from None


def _check_next(text: str, table: _Table) -> None:
    """Check `_next`: the key of a row, after its value in the sort column, if there is one."""
    keys = [*([table.sort] if table.sort and table.sort in table.types else []), *table.keys]
    values = urlsafe_components(text)
    if len(values) != len(keys) or not all(
        not table.is_number(key) or value in (_FIRST, _LAST) or _NUMBER.fullmatch(value)
        for key, value in zip(keys, values, strict=True)
    ):
        raise BadRequest(f"_next is {quoted(text)}, which is not the start of any page.")
