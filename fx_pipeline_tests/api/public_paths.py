"""Every path that Datasette offers, what an anonymous visitor gets there, and why."""

OPEN, CLOSED, ABSENT, BAD, MOVED, POSTED = 200, 403, 404, 400, 301, 405

PATHS = [
    # The API.
    ("/rates/", OPEN, "the API"),
    ("/rates/2026-03-06/", OPEN, "the API"),
    ("/rates/docs/", OPEN, "the API, for people"),
    ("/-/health", OPEN, "supervisors have no token"),
    ("/-/health/ready", OPEN, "supervisors have no token"),
    ("/-/health/freshness", OPEN, "supervisors have no token"),
    ("/-/login", OPEN, "takes a token"),
    # Pages, tables and canned queries: the same rates.
    ("/", OPEN, "the home page"),
    ("/.json", OPEN, "the databases as data"),
    ("/currency/USD", OPEN, "a page of rates"),
    ("/coverage", OPEN, "which days are stored"),
    ("/public", OPEN, "who may see what, and why"),
    ("/static/vendor/uPlot-LICENSE", OPEN, "the licence of what draws the charts"),
    ("/fx", OPEN, "lists tables and queries"),
    ("/fx.json", OPEN, "the same as data"),
    *(
        (f"/fx/{table}{format_}", OPEN, "public data")
        for table in ("rates", "days", "revisions", "symbols", "rejected_rates")
        for format_ in ("", ".json", ".csv")
    ),
    *(
        (f"/fx/{query}{format_}", OPEN, "what the API runs")
        for query in (
            "content_changes",
            "coverage",
            "currencies",
            "currency_revisions",
            "day_fetches",
            "day_revisions",
            "latest_date",
            "rates_by_date",
            "rates_by_range",
            "rate_history",
            "stored_days",
            "wanted_ranges",
        )
        for format_ in ("", ".json", ".csv")
    ),
    ("/fx/rates/2026-03-06,USD", OPEN, "a row of public data"),
    ("/fx/rates/2026-03-06,USD.csv", OPEN, "a row of public data"),
    ("/fx/days/2026-03-06.json", OPEN, "a row of public data"),
    ("/favicon.ico", OPEN, "an image"),
    ("/-/mcp", POSTED, "tools for assistants: the API"),
    # Who runs this may see these; the public may not.
    *(
        (f"/fx/{table}{format_}", CLOSED, "about the running of the service")
        for table in (
            "fetches",
            "outage",
            "refused_symbols",
            "token_mark",
            "_sqlite_migrations",
            "last_fetches",
            "calls_of_month",
            "store_state",
        )
        for format_ in ("", ".json", ".csv")
    ),
    ("/-/metrics", CLOSED, "about the running of the service"),
    ("/fx/fetches/1", CLOSED, "about the running of the service"),
    ("/fx/fetches/1.json", CLOSED, "about the running of the service"),
    ("/fx/fetches/1.blob?_blob_column=body", CLOSED, "bodies as they were received"),
    (
        '/fx/rates.json?_through={"table":"fetches","column":"id","value":"1"}',
        CLOSED,
        "a closed table, asked through an open one",
    ),
    ("/_internal", CLOSED, "Datasette's own database"),
    ("/_internal.json", CLOSED, "Datasette's own database"),
    ("/_internal/databases.json", CLOSED, "Datasette's own database"),
    # Arbitrary SQL, downloads, streams, facets.
    *(
        (path, CLOSED, "arbitrary SQL")
        for path in (
            "/fx?sql=select+1",
            "/fx.json?sql=select+1",
            "/fx/rates.json?_where=1=1",
            "/fx/rates.csv?_where=1=1",
        )
    ),
    ("/fx.db", CLOSED, "the database as a file"),
    ("/_internal.db", CLOSED, "the database as a file"),
    ("/fx/rates.csv?_stream=1", BAD, "all rows in one response"),
    ("/fx/rates_by_date.csv?_stream=1", BAD, "all rows in one response"),
    ("/fx/rates.json?_facet=currency", BAD, "counts over the whole table"),
    ("/fx/rates.json?_size=10000000", BAD, "all rows in one response"),
    ("/fx/rates?_size=max", OPEN, "at most 1000 rows"),
    # Datasette's views of itself.
    *(
        (f"/-/{page}{format_}", CLOSED, "about the server")
        for page in ("metadata", "versions", "plugins", "settings", "threads", "databases", "actor")
        for format_ in ("", ".json")
    ),
    *(
        (f"/-/{page}", CLOSED, "about the server")
        for page in (
            "config",
            "config.json",
            "auth-token",
            "auth-token?token=x",
            "logout",
            "permissions",
            "messages",
            "allow-debug",
            "patterns",
            "health/other",
            "mcp/nothing",
            "nothing",
        )
    ),
    ("/static/pages.css", OPEN, "looks"),
    ("/static/rates_docs.css", OPEN, "looks"),
    ("/static/..%2Fmetadata.yaml", ABSENT, "outside of what is served"),
    ("/static/%2e%2e/plugins/rates_api.py", ABSENT, "outside of what is served"),
    *(
        (f"/-/{path}", CLOSED, "about the server")
        for path in (
            "static/app.css",
            "static/" + "a" * 300,
            "static/" + "a/" * 3000,
            "static/%00",
            "static/..%2F..%2Fapp.py",
            "static/%2e%2e/%2e%2e/app.py",
            "static-plugins/nothing/app.js",
            "static-plugins/nothing/" + "a" * 300,
        )
    ),
    ("/static/nothing.js", ABSENT, "no such file"),
    ("/static", ABSENT, "no list of files"),
    ("/static/vendor", ABSENT, "no list of files"),
    ("/static/%2e%2e/settings.json", ABSENT, "outside of what is served"),
    ("/static/%2Fetc%2Fpasswd", ABSENT, "outside of what is served"),
    # What is not there.
    ("/currency/QQQ", ABSENT, "no such currency"),
    ("/currency", ABSENT, "no such page"),
    ("/fx/rates_by_date?date=2026-03-07", ABSENT, "no such day"),
    ("/:memory:", MOVED, "to what is not there"),
    ("/_memory", ABSENT, "no such database"),
    ("/_memory.json?sql=select+1", ABSENT, "no such database"),
    ("/nothing", ABSENT, "no such page"),
    ("/nothing/nothing/nothing/nothing", ABSENT, "no such page"),
    ("/fx/nothing", ABSENT, "no such table"),
    ("/fx/sqlite_master.json", ABSENT, "no such table"),
    ("/fx/rates/2026-03-06,QQQ", ABSENT, "no such row"),
    *(
        (path, ABSENT, "no such format")
        for path in (
            "/fx.csv",
            "/fx.csv?sql=select+1",
            "/fx.parquet",
            "/fx/rates.parquet",
            "/fx/rates.xlsx",
            "/fx/rates.blob",
            "/fx/rates_by_date.blob?_blob_column=rate",
            "/fx/rates_by_date.xml",
            "/fx/rates/2026-03-06,USD.xlsx",
            "/currency/USD.csv",
            "/coverage.json",
            "/public.txt",
            "/.csv",
            "/nothing.csv",
            "/nothing/nothing.csv",
            "/-/health.json",
            "/-/health/freshness.csv",
        )
    ),
    # Malformed requests. Datasette 0.65.5 by itself answers most of these with 500.
    *(
        (path, BAD, "cannot be read")
        for path in (
            "/fx/rates/2026-03-06",
            "/fx/rates/2026-03-06.json",
            "/fx/rates/2026-03-06,USD.blob",
            "/fx/rates.json?_sort=nothing",
            "/fx/rates.json?_sort=date&_sort_desc=date",
            "/fx/rates.json?_ttl=%C2%B2",
            "/fx/rates.json?_timelimit=abc",
            "/fx/rates_by_date.json?_timelimit=abc",
            "/fx/rates_by_date.json?_json_infinity=x",
            "/fx/rates.json?_through=abc",
            "/fx/rates.json?_next=abc",
            "/fx/rates.json?_size=-1",
            "/fx/rates.json?_shape=nothing",
            "/fx/rates.json?_col=nothing",
            "/fx/rates.json?%00=1",
            "/fx/rates.json?_sort=%00",
        )
    ),
]
