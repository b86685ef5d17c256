"""A ticket is accepted exactly when this product signed it, for that tenant and that purpose, with a key still in use."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ropeline.gate.tickets import TICKET_CHARS, Ticket, TicketSigner, TicketState
from ropeline.lua.errors import ConfigurationError

OLD_KEY = "the-old-key-of-the-shop"
NEW_KEY = "the-new-key-of-the-shop"
SIGNER = TicketSigner([NEW_KEY])
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

numbers = st.integers(0, 2**64 - 1)
tickets = st.builds(
    Ticket,
    tenant=st.sampled_from(["acme", "globex", "a", "acme-2"]),
    id=st.binary(min_size=16, max_size=16),
    state=st.sampled_from(TicketState),
    place=numbers,
    since=numbers,
    end=numbers,
    epoch=numbers,
    sequence=numbers,
    generation=numbers,
    estimate=numbers,
)


def a_ticket(tenant: str = "acme", *, place: int = 1_700_000_000_000_000) -> Ticket:
    return Ticket(tenant, b"0123456789abcdef", TicketState.WAITING, place, 0, 1_700_000_180_000, 1, 42, 0, 0)


@given(tickets)
def test_a_signed_ticket_reads_back_as_itself(ticket: Ticket) -> None:
    text = SIGNER.sign(ticket)
    fresh = TicketSigner([NEW_KEY])
    assert fresh.read(text, ticket.tenant) == ticket
    assert fresh.read(text.encode(), ticket.tenant) == ticket, "the second read comes from memory"
    assert type(ticket.state) is TicketState


@given(tickets, tickets)
def test_distinct_tickets_have_distinct_text(one: Ticket, other: Ticket) -> None:
    assert (SIGNER.sign(one) == SIGNER.sign(other)) == (one == other)


@given(tickets)
def test_a_ticket_is_short_text_that_a_cookie_can_carry(ticket: Ticket) -> None:
    text = SIGNER.sign(ticket)
    assert len(text) == TICKET_CHARS < 200
    assert set(text) <= set(ALPHABET)


@given(st.integers(0, TICKET_CHARS - 1), st.integers(0, 7))
def test_a_flipped_bit_is_no_ticket(position: int, bit: int) -> None:
    text = bytearray(SIGNER.sign(a_ticket()).encode())
    text[position] ^= 1 << bit
    assert SIGNER.read(bytes(text), "acme") is None


def test_no_single_character_can_be_replaced() -> None:
    text = SIGNER.sign(a_ticket())
    for position, original in enumerate(text):
        for character in ALPHABET + "+/= ":
            if character != original:
                assert SIGNER.read(text[:position] + character + text[position + 1 :], "acme") is None


@given(st.integers(0, TICKET_CHARS - 1), st.integers(0, TICKET_CHARS))
def test_a_part_of_a_ticket_is_no_ticket(start: int, end: int) -> None:
    text = SIGNER.sign(a_ticket())
    assume(text[start:end] != text)
    assert SIGNER.read(text[start:end], "acme") is None


@given(tickets, tickets, st.integers(1, TICKET_CHARS - 1))
def test_two_tickets_spliced_are_no_ticket(one: Ticket, other: Ticket, cut: int) -> None:
    spliced = SIGNER.sign(one)[:cut] + SIGNER.sign(other)[cut:]
    assume(spliced not in (SIGNER.sign(one), SIGNER.sign(other)))
    assert SIGNER.read(spliced, one.tenant) is None
    assert SIGNER.read(spliced, other.tenant) is None


@given(tickets, st.sampled_from(["acme", "globex", "a", "acme-2", "", "acme\0"]))
def test_a_ticket_of_one_tenant_is_none_for_another_even_after_it_was_read(ticket: Ticket, tenant: str) -> None:
    assume(tenant != ticket.tenant)
    text = SIGNER.sign(ticket)
    assert SIGNER.read(text, tenant) is None
    assert SIGNER.read(text, ticket.tenant) == ticket
    assert SIGNER.read(text, tenant) is None


def test_a_ticket_is_worthless_for_another_purpose() -> None:
    text = SIGNER.sign(a_ticket())
    assert TicketSigner([NEW_KEY], purpose="pass").read(text, "acme") is None


def test_purpose_and_tenant_are_not_glued_together() -> None:
    text = TicketSigner([NEW_KEY], purpose="tick").sign(a_ticket("etacme"))
    assert TicketSigner([NEW_KEY], purpose="ticket").read(text, "acme") is None


def test_a_ticket_of_an_old_key_reads_while_that_key_is_listed_and_the_newest_key_signs() -> None:
    old, both, new = TicketSigner([OLD_KEY]), TicketSigner([OLD_KEY, NEW_KEY]), TicketSigner([NEW_KEY])
    ticket = a_ticket()
    assert both.read(old.sign(ticket), "acme") == ticket
    assert new.read(both.sign(ticket), "acme") == ticket
    assert new.read(old.sign(ticket), "acme") is None
    assert old.read(both.sign(ticket), "acme") is None


def test_a_key_is_the_same_as_text_and_as_bytes() -> None:
    assert TicketSigner([NEW_KEY.encode()]).read(SIGNER.sign(a_ticket()), "acme") == a_ticket()


@pytest.mark.parametrize(
    "value",
    ["", ".", "a", "é" * TICKET_CHARS, "\0" * TICKET_CHARS, "." * TICKET_CHARS, "A" * 5000, b"\xff" * TICKET_CHARS],
)
def test_nonsense_is_no_ticket(value: str | bytes) -> None:
    assert SIGNER.read(value, "acme") is None


@given(
    st.one_of(st.text(max_size=300), st.binary(max_size=300), st.binary(min_size=TICKET_CHARS, max_size=TICKET_CHARS))
)
def test_nothing_that_a_client_sends_raises(value: str | bytes) -> None:
    assert SIGNER.read(value, "acme") is None


def test_a_payload_of_another_version_or_an_unknown_state_is_no_ticket() -> None:
    """Only a later release, or this one with a bug, can sign such a thing: the signature alone is not enough."""
    payload = base64.urlsafe_b64decode(SIGNER.sign(a_ticket()).partition(".")[0] + "==")
    for raw in (b"\x02" + payload[1:], payload[:1] + b"\x09" + payload[2:]):
        text = base64.urlsafe_b64encode(raw).rstrip(b"=")
        signer = SIGNER._signers_of("acme")[0]
        assert SIGNER.read(text + b"." + signer.get_signature(text), "acme") is None


def test_the_signature_is_the_standard_hmac_of_the_text() -> None:
    payload, _, signature = SIGNER.sign(a_ticket()).partition(".")
    derived = hmac.digest(NEW_KEY.encode(), b"ropeline\0ticket\0acme", "sha256")
    expected = hmac.new(derived, payload.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(expected).rstrip(b"=").decode() == signature


def test_what_is_remembered_of_verified_tickets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropeline.gate.tickets._CACHE_LIMIT", 10)
    signer = TicketSigner([NEW_KEY])
    for place in range(100):
        assert signer.read(signer.sign(a_ticket(place=place)), "acme") == a_ticket(place=place)
        assert len(signer._verified) <= 10


def test_only_valid_tickets_are_remembered() -> None:
    signer = TicketSigner([NEW_KEY])
    signer.read("A" * TICKET_CHARS, "acme")
    signer.read(TicketSigner([OLD_KEY]).sign(a_ticket()), "acme")
    assert not signer._verified


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([], "random key"),
        ([NEW_KEY, "short-sesame"], "secret_keys[1]"),
        ("short-sesame-but-a-text", "list of keys"),
        ([b""], "0 bytes"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_without_showing_them(keys: Sequence[str | bytes], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TicketSigner(keys)
    assert words in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_signer_does_not_show_its_keys() -> None:
    assert "the-new-key" not in repr(SIGNER)
