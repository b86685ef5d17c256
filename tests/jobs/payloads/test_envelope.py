"""A body says what was put into it and nothing else; bytes that no job of ours can have raise the one named error."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.jobs.errors import Undecodable
from ropeline.jobs.payloads.envelope import Envelope, pack, pack_plain, unpack, with_trace

times = st.integers(0, 2**48 - 1)
numbers = st.none() | st.integers(0, 2**63)
texts = st.dictionaries(st.text(max_size=80), st.text(max_size=80), max_size=5)
envelopes = st.builds(
    Envelope,
    type=st.text(min_size=1, max_size=50),
    payload=st.binary(max_size=500),
    codec=st.integers(0, 255),
    enqueued=times,
    max_attempts=numbers,
    timeout=numbers,
    grace=numbers,
    deadline=numbers,
    result_ttl=numbers,
    metadata=texts,
    trace=texts,
)
PLAIN = Envelope("order:confirm", b'{"order":17}', 1, 1_700_000_000_000)


@given(envelopes)
def test_an_envelope_reads_back_as_itself(envelope: Envelope) -> None:
    assert unpack(pack(envelope)) == envelope


@given(st.text(min_size=1, max_size=50), st.binary(max_size=50), st.integers(0, 255), times)
def test_the_short_way_makes_the_same_body(type_: str, payload: bytes, codec: int, enqueued: int) -> None:
    assert pack_plain(type_.encode(), payload, codec, enqueued) == pack(Envelope(type_, payload, codec, enqueued))


@given(envelopes, texts)
def test_a_body_that_is_given_a_trace_says_all_else_as_before(envelope: Envelope, trace: dict[str, str]) -> None:
    assert unpack(with_trace(pack(envelope), trace)) == envelope._replace(trace=trace or envelope.trace)
    plain = Envelope(envelope.type, envelope.payload, envelope.codec, envelope.enqueued)
    assert with_trace(pack(plain), trace) == pack(plain._replace(trace=trace))


def test_a_plain_job_costs_ten_bytes_and_its_type() -> None:
    assert len(pack(PLAIN)) == 10 + len(PLAIN.type) + len(PLAIN.payload)


def test_the_layout_stays_what_it_is() -> None:
    """Jobs that were enqueued before an upgrade are read after it."""
    assert pack(PLAIN).hex() == "0101018bcfe568000d" + b"order:confirm".hex() + "00" + PLAIN.payload.hex()
    full = PLAIN._replace(max_attempts=300, deadline=0, metadata={"a": "b"}, trace={"t": "u" * 128})
    assert unpack(pack(full)) == full
    assert pack(full).hex().removeprefix(pack(PLAIN).hex()[: 2 * 22]) == (
        "040102012c040080040161016281840101748001" + "75" * 128 + PLAIN.payload.hex()
    )


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: b"\x01" + rest))
def test_any_bytes_are_an_envelope_or_undecodable(body: bytes) -> None:
    with suppress(Undecodable):
        assert isinstance(unpack(body), Envelope)


@given(envelopes, st.data())
def test_a_body_that_was_cut_is_undecodable(envelope: Envelope, data: st.DataObject) -> None:
    body = pack(envelope._replace(payload=b""))
    with pytest.raises(Undecodable):
        unpack(body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize("version", [0, 2, 255, ord("{")])
def test_an_unknown_version_is_undecodable(version: int) -> None:
    with pytest.raises(Undecodable, match=f"got version {version}, expected version 1"):
        unpack(bytes((version,)) + pack(PLAIN)[1:])


def body_with_field(field: bytes) -> bytes:
    return pack(PLAIN._replace(payload=b"")).removesuffix(b"\0") + b"\x01" + field + b"payload"


def test_a_field_of_a_newer_version_that_may_be_skipped_is_skipped() -> None:
    assert unpack(body_with_field(b"\xc8\x03new")) == PLAIN._replace(payload=b"payload")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (b"\x63\x03new", "field 99 is unknown, and may not be skipped"),
        (b"\x01\x09" + b"1" * 9, "max_attempts takes 9 bytes, at most 8 are allowed"),
        (b"\x80\x02\x01a", "a name has no value"),
        (b"\x80\xff\xff\xff\x01", "a length takes more than three bytes"),
        (b"\x80\x02\x01\xff", "a text in it is not UTF-8"),
        (b"\x80\x7f", "end too early"),
    ],
)
def test_a_field_that_cannot_be_kept_is_undecodable(field: bytes, message: str) -> None:
    with pytest.raises(Undecodable, match=message):
        unpack(body_with_field(field))


def test_an_empty_body_and_an_empty_type_are_undecodable() -> None:
    with pytest.raises(Undecodable, match="got nothing"):
        unpack(b"")
    with pytest.raises(Undecodable, match="the task type is empty"):
        unpack(pack(PLAIN._replace(type="")))


def test_what_an_envelope_holds_cannot_be_changed() -> None:
    metadata: Any = unpack(pack(PLAIN._replace(metadata={"a": "b"}))).metadata
    with pytest.raises(TypeError):
        metadata["a"] = "c"
