"""Payloads come back exactly or are refused with the reason: no NaN, no lost digit, no code that runs when they are read."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs.errors import Undecodable
from ropeline.jobs.payloads.codec import Codec, codec_named, codec_numbered
from ropeline.jobs.payloads.values import Unfit
from ropeline.lua.errors import ConfigurationError

NAMES = ["json", "msgpack"]
WITHOUT_PACKAGES = """
import sys
from ropeline.lua.errors import ConfigurationError
sys.modules["msgpack"] = sys.modules["google.protobuf"] = sys.modules["google.protobuf.message"] = None
from ropeline.jobs.payloads.codec import codec_named, codec_numbered
print(codec_named("codec", "json").encode([1]).decode())
for ask in (lambda: codec_named("codec", "msgpack"), lambda: codec_numbered(3)):
    try:
        ask()
    except ConfigurationError as error:
        print(error)
"""

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(params=NAMES)
def codec(request: pytest.FixtureRequest) -> Codec:
    return codec_named("codec", request.param)


@pytest.mark.parametrize("name", NAMES)
@given(value=plain)
def test_plain_data_comes_back_as_it_was(name: str, value: object) -> None:
    codec = codec_named("codec", name)
    if "inf" in repr(value) and name == "json":
        return
    back = codec.decode(codec.encode(value))
    assert back == value
    assert repr(back) == repr(value), "also the types, and every digit"


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64 + 1, -(2**63) - 1, 10**400])
def test_json_keeps_every_digit_of_a_whole_number(number: int) -> None:
    codec = codec_named("codec", "json")
    assert codec.decode(codec.encode({"n": number})) == {"n": number}
    assert str(number).encode() in codec.encode({"n": number})


@given(st.binary())
def test_any_bytes_are_data_or_undecodable(data: bytes) -> None:
    for name in NAMES:
        try:
            codec_named("codec", name).decode(data)
        except Undecodable:
            continue


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "[NaN]", '{"a":Infinity}', "", "{", "\ud800", "1 2", '{"a":1}2', '{"a":1}}'],
)
def test_what_is_not_strict_json_is_undecodable(text: str) -> None:
    with pytest.raises(Undecodable, match="not JSON"):
        codec_named("codec", "json").decode(text.encode("utf-8", "surrogatepass"))


def test_data_that_is_too_deep_is_refused_both_ways(codec: Codec) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unfit, match=r"deep|JSON"):
        codec.encode(deep)
    bomb = b"[" * 100_000 if codec.name == "json" else b"\x91" * 100_000
    with pytest.raises(Undecodable):
        codec.decode(bomb)


def test_text_that_is_no_text_is_refused(codec: Codec) -> None:
    with pytest.raises(Unfit, match="lone surrogates"):
        codec.encode({"name": "\ud800"})


def test_json_refuses_nan_and_more_digits_than_can_be_read_back() -> None:
    for wrong in (float("nan"), float("inf"), 10**5000):
        with pytest.raises(Unfit, match="data that JSON can hold"):
            codec_named("codec", "json").encode([wrong])


def test_msgpack_says_that_json_takes_larger_numbers() -> None:
    with pytest.raises(Unfit, match="at most 64 bits"):
        codec_named("codec", "msgpack").encode([2**64])


def test_msgpack_reads_no_extension_types() -> None:
    with pytest.raises(Undecodable, match="extension type 5"):
        codec_named("codec", "msgpack").decode(b"\xd4\x05\x00")


def test_json_is_as_short_as_it_can_be() -> None:
    assert codec_named("codec", "json").encode({"a": [1, "é"]}) == '{"a":[1,"é"]}'.encode()
    assert json.loads(codec_named("codec", "json").encode({"a": [1, "é"]})) == {"a": [1, "é"]}


@pytest.mark.parametrize("text", ['{"a":1}', ' {"a":1}', '{"a":1}\n', '\t{ "a" : 1 } '])
def test_space_around_json_that_somebody_has_typed_says_nothing(text: str) -> None:
    assert codec_named("codec", "json").decode(text.encode()) == {"a": 1}


def test_json_is_the_same_where_python_has_no_encoder_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"a": [1, 2.5, "é", None, True, {"b": -(10**30)}]}
    usual = codec_named("codec", "json")
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    other: Codec = type(usual)()
    assert other.encode(value) == usual.encode(value)
    for wrong in (float("nan"), "\ud800", {1, 2}):
        for codec in (usual, other):
            with pytest.raises((Unfit, TypeError)):
                codec.encode([wrong])


def test_data_that_contains_itself_is_refused(codec: Codec) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(Unfit):
        codec.encode(endless)


@pytest.mark.parametrize("name", ["pickle", "JSON", "", None, 1])
def test_an_unknown_codec_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"codec: got .*, expected one of: json, msgpack, protobuf"):
        codec_named("codec", name)


def test_the_numbers_of_codecs_stay_what_they_are() -> None:
    """They stand in jobs that were enqueued before an upgrade."""
    assert {number: codec_numbered(number).name for number in (1, 2, 3)} == {1: "json", 2: "msgpack", 3: "protobuf"}
    for number in (0, 4, 255):
        with pytest.raises(Undecodable, match=f"got number {number}, expected one of: 1, 2, 3"):
            codec_numbered(number)


def test_a_missing_package_is_named_with_the_line_that_installs_it() -> None:
    lines = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert lines == [
        "[1]",
        "codec: got 'msgpack', expected its package: pip install 'ropeline[msgpack]'",
        "codec: got 'protobuf', expected its package: pip install 'ropeline[protobuf]'",
    ]
