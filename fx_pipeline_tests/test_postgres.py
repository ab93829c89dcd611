"""The address of a PostgreSQL database."""

import pytest

from fx_pipeline.postgres import check_postgres_url, place_of, with_driver, without_password
from fx_pipeline.settings import SettingsError, load_settings


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://dagster:s3cret@db.example:5432/runs", "db.example:5432/runs"),
        ("postgresql+psycopg2://dagster:s3cret@db/runs", "db/runs"),
        ("postgresql://dagster@db/runs?sslmode=verify-full&sslrootcert=/etc/ca.pem", "db/runs"),
        ("postgresql://u:%40%3A%2F%3F%23%25@[::1]:5432/runs", "[::1]:5432/runs"),
        ("postgresql:///runs?host=/var/run/postgresql", "/runs"),
        ("postgresql://u:a+b!$&'()*,;=~ü@db/runs", "db/runs"),
    ],
)
def test_an_address_is_accepted_and_shown_without_the_password(url: str, place: str) -> None:
    assert check_postgres_url(url) == url
    assert place_of(url) == place
    assert with_driver(url) == f"postgresql+psycopg2://{url.split('://')[1]}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://u:s3cret@db/runs", "it must begin with postgresql://."),
        ("mysql://u:s3cret@db/runs", "it must begin with postgresql://."),
        ("s3cret", "it must begin with postgresql://."),
        *(
            (f"postgresql://u:s3cret{character}x@db/runs", "such as %40 for @.")
            for character in ("@", ":", "/", "?", "#", "[", "]", "%", " ", "%zz")
        ),
        ("postgresql://u:s3cret@db", "such as %40 for @."),
        ("postgresql://u:s3cret@db:port/runs", "such as %40 for @."),
    ],
)
def test_another_form_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.setenv("FX_DAGSTER_POSTGRES_URL", url)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith("FX_DAGSTER_POSTGRES_URL cannot be used: ")
    assert message.endswith(says)
    assert "s3cret" not in message


def test_a_message_is_shown_without_the_password() -> None:
    url = "postgresql://u:a%40b@db/runs"
    assert without_password("invalid: a%40b, a@b", url) == "invalid: ***, ***"
    url = "postgresql:///runs?host=/run/postgresql&password=s%2Fcret&sslpassword=other"
    assert without_password("invalid: s%2Fcret, s/cret, other", url) == "invalid: ***, ***, ***"
    assert without_password("invalid", "postgresql://u@db/runs") == "invalid"
