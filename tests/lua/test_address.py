"""One URL names the store; a wrong one is refused with what would be right, and no secret is ever shown."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.lua.address import Address, TlsOptions, parse_address, redacted_address
from ropeline.lua.errors import ConfigurationError

LOCAL = ("127.0.0.1", 6379)


def address(kind: str, *hosts: tuple[str, int], **parts: object) -> Address:
    defaults: dict[str, object] = {
        "database": 0,
        "username": None,
        "password": None,
        "tls": None,
        "socket_path": "",
        "service": "",
        "sentinel_username": None,
        "sentinel_password": None,
    }
    return Address(kind=kind, hosts=hosts, **{**defaults, **parts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1", address("single", LOCAL)),
        ("redis://127.0.0.1:7000/", address("single", ("127.0.0.1", 7000))),
        ("redis://127.0.0.1/3", address("single", LOCAL, database=3)),
        ("redis://127.0.0.1?db=3", address("single", LOCAL, database=3)),
        ("redis://[::1]:7000", address("single", ("::1", 7000))),
        ("redis://:secret@store", address("single", ("store", 6379), password="secret")),
        ("redis://anna:s%40c%2Fret@store", address("single", ("store", 6379), username="anna", password="s@c/ret")),
        ("rediss://store", address("single", ("store", 6379), tls=TlsOptions())),
        (
            "rediss://store?ssl_check_hostname=false",
            address("single", ("store", 6379), tls=TlsOptions(check_hostname=False)),
        ),
        (
            "rediss://store?ssl_cert_reqs=none",
            address("single", ("store", 6379), tls=TlsOptions(verify=False, check_hostname=False)),
        ),
        ("unix:///run/valkey.sock", address("unix", socket_path="/run/valkey.sock")),
        (
            "unix://anna:secret@/run/valkey%20one.sock?db=2",
            address("unix", socket_path="/run/valkey one.sock", database=2, username="anna", password="secret"),
        ),
        ("redis+cluster://a,b:7001,[::1]", address("cluster", ("a", 6379), ("b", 7001), ("::1", 6379))),
        ("rediss+cluster://:secret@a", address("cluster", ("a", 6379), password="secret", tls=TlsOptions())),
        ("redis+sentinel://a,b:7001/acme", address("sentinel", ("a", 26379), ("b", 7001), service="acme")),
        (
            "rediss+sentinel://anna:secret@a/acme/2?sentinel_username=eve&sentinel_password=hush",
            address(
                "sentinel",
                ("a", 26379),
                service="acme",
                database=2,
                username="anna",
                password="secret",
                tls=TlsOptions(),
                sentinel_username="eve",
                sentinel_password="hush",
            ),
        ),
    ],
)
def test_each_form_is_read_into_its_parts(url: str, expected: Address) -> None:
    assert parse_address(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "one of redis://"),
        ("127.0.0.1:6379", "one of redis://"),
        ("http://127.0.0.1", "one of redis://"),
        ("REDIS://127.0.0.1", "one of redis://"),
        ("redis:127.0.0.1", "one of redis://"),
        ("redis://127.0.0.1 ", "one of redis://"),
        ("redis://127.0.0.1\n", "one of redis://"),
        ("redis://:sec#ret@127.0.0.1", "percent-encoded"),
        ("redis://:sec/ret@127.0.0.1", "percent-encoded"),
        ("redis://", "host or host:port"),
        ("redis://127.0.0.1:0", "ports from 1 to 65535"),
        ("redis://127.0.0.1:65536", "ports from 1 to 65535"),
        ("redis://127.0.0.1:port", "host or host:port"),
        ("redis://a b", "one of redis://"),
        ("redis://a,b", "one host, or redis+cluster://"),
        ("redis://anna@127.0.0.1", "user:password@"),
        ("redis://127.0.0.1/prod", "the number of a database"),
        ("redis://127.0.0.1/-1", "the number of a database"),
        ("redis://127.0.0.1/1?db=1", "once"),
        ("redis://127.0.0.1?socket_timeout=1", "each of these options at most once for redis://: db"),
        ("redis://127.0.0.1?db=1&db=2", "at most once"),
        ("redis://127.0.0.1?ssl_ca_certs=/ca.pem", "options"),
        ("rediss://127.0.0.1?ssl_ca_certs=/no/such/file", "ssl_ca_certs to name a file"),
        ("rediss://127.0.0.1?ssl_cert_reqs=optional", "ssl_cert_reqs=required"),
        ("rediss://127.0.0.1?ssl_check_hostname=1", "ssl_check_hostname=true"),
        ("unix://relative/path.sock", "unix:///absolute"),
        ("unix:///", "unix:///absolute"),
        ("redis+cluster://a/1", "database 0"),
        ("redis+cluster://a,", "host or host:port"),
        ("redis+sentinel://a", "SERVICE"),
        ("redis+sentinel://a/acme/x", "the number of a database"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_right(url: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_address(url)
    assert refused.value.field == "redis_url"
    assert expected in refused.value.expected


def test_files_of_tls_are_named_in_the_url(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    url = f"rediss://store?ssl_ca_certs={tmp_path}/ca&ssl_certfile={tmp_path}/cert&ssl_keyfile={tmp_path}/key"
    tls = parse_address(url).tls
    assert tls == TlsOptions(f"{tmp_path}/ca", f"{tmp_path}/cert", f"{tmp_path}/key")


signs = st.text(st.characters(codec="utf-8", exclude_characters="*"), max_size=20)
schemes = st.sampled_from(["redis", "rediss+cluster", "redis+sentinel", "unix", "http", ""])


@given(schemes, signs, signs)
def test_a_password_is_shown_by_no_error_and_no_redaction(scheme: str, before: str, after: str) -> None:
    url = f"{scheme}://{before}:hunter2{after}@127.0.0.1:6379/0?sentinel_password=hunter2"
    assert "hunter2" not in redacted_address(url)
    with pytest.raises(ConfigurationError) as refused:
        parse_address(url + "&x=")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://a/{text}", f"rediss://a?{text}"):
        with suppress(ConfigurationError):
            parse_address(url)
