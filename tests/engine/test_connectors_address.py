"""URLs of data elsewhere: variables are filled in, and no secret is ever shown."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.connectors.address import Address, address, masked
from engine.datasets.connectors.failures import told
from engine.datasets.connectors.source import Source
from engine.errors import DataError

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F, exclude_characters="$"), min_size=1).map(
    lambda text: f"Zq{text}qZ"
)


@given(secret=SECRETS, scheme=st.sampled_from(["postgresql", "postgres", "snowflake", "ftp", "https"]))
def test_no_password_is_shown(secret: str, scheme: str) -> None:
    encoded = quote(secret, safe="")
    for url in (
        f"{scheme}://ann:{encoded}@host:5432/shop?token={encoded}",
        f"{scheme}://ann@host/shop?password={encoded}",
    ):
        place = address(url)
        for text in (place.public, place.name, repr(place), repr(Source(url)), masked(url), masked(f"--from={url}")):
            assert encoded not in text
            assert secret not in text
        assert place.public.endswith("/shop")
        said = place.hide(f"cannot open {url}: {secret!s} or {encoded} is wrong")
        assert encoded not in said
        assert secret not in said


@given(secret=SECRETS)
def test_a_password_that_makes_the_url_ambiguous_is_refused_in_silence(secret: str) -> None:
    url = f"postgresql://ann:{secret}@host/shop"
    assert secret not in masked(url)
    if set(secret) & set("@/?#"):
        with pytest.raises(DataError) as caught:
            address(url)
        assert secret not in str(caught.value)
    else:
        assert address(url).public == "postgresql://host/shop"


def test_what_is_shown() -> None:
    assert address("postgresql://ann:pw@db:5432/shop?sslmode=require").public == "postgresql://db:5432/shop"
    assert (
        address("https://files.shop/x/items.parquet?X-Amz-Signature=abc#f").public
        == "https://files.shop/x/items.parquet"
    )
    assert address("s3://bucket/a@b/c").public == "s3://bucket/a@b/c"
    assert address("sqlite:////data/shop@home.db").public == "sqlite:////data/shop@home.db"
    assert masked("postgresql://ann:${PW}@db/shop?sslmode=require&k=v") == (
        "postgresql://ann:${PW}@db/shop?sslmode=require&k=***"
    )
    assert masked("--items=SELECT * FROM products") == "--items=SELECT * FROM products"
    assert address("https://files.shop/2026/items.csv.gz").name == "2026"
    assert address("https://files.shop/items.parquet").name == "files.shop"
    names = {
        url: address(url).name
        for url in ("postgresql://db/shop", "sqlite:///x/shop.db", "s3://bucket/", "s3://b/shop/1/")
    }
    assert list(names.values()) == ["shop", "shop", "bucket", "1"]


def test_variables_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_USER", "ann@corp")
    monkeypatch.setenv("DB_PW", "p@ss/wörd")
    monkeypatch.setenv("DB_HOST", "db:5432")
    place = address("postgresql://${DB_USER}:${DB_PW}@${DB_HOST}/shop")
    assert place.url == f"postgresql://ann%40corp:{quote('p@ss/wörd', safe='')}@db:5432/shop"
    assert place.public == "postgresql://db:5432/shop"
    assert "p@ss" not in place.hide("FATAL: p@ss/wörd")
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:secret@db/shop")
    assert address("${DATABASE_URL}").url == "postgresql://ann:secret@db/shop"
    with pytest.raises(DataError, match=r"\$\{NOT_THERE\}, which is not set"):
        address("postgresql://ann:${NOT_THERE}@db/shop")


def test_secrets_of_the_environment_are_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("PWD", "/home/ann")
    said = Address("s3://bucket/x").hide("from-the-environment, wJalrXUtnFEMI, /home/ann, http://u:v@w/x")
    assert said == "***, ***, /home/ann, http://***@w/x"


def test_a_driver_that_repeats_the_url_tells_no_secret() -> None:
    """Neither in the message nor in a traceback."""
    url = "postgresql://ann:hush-hush@db/shop"
    with pytest.raises(DataError) as caught, told(address(url), "it cannot be opened"):
        raise RuntimeError(f"IO: [libpq] bad URI {url}\nsecond line")
    assert str(caught.value) == "it cannot be opened: bad URI postgresql://db/shop"
    assert "libpq" not in "".join(traceback.format_exception(caught.value)).replace("[libpq] bad URI {url}", "", 1)


@pytest.mark.parametrize(
    "given_url",
    ["", "shop", "host=db password=hush", "simplecache::s3://ann:hush@b/x", "zip://x::s3://hush", "://hush"],
)
def test_what_is_no_url_is_not_repeated(given_url: str) -> None:
    with pytest.raises(DataError, match="--from is not a URL") as caught:
        address(given_url)
    assert "hush" not in str(caught.value)
