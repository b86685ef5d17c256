"""The client's address is what the last trusted proxy saw, whatever the client writes."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropeline.gate.client_address import JOIN_BUCKETS, ClientAddresses, Networks, join_buckets, pack_address

KEY = b"k" * 32
ADDRESSES = ClientAddresses(["10.0.0.0/8", "fd00::/8"])


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


@pytest.mark.parametrize("forwarded", [b"", b"6.6.6.6", b"6.6.6.6, 10.0.0.1"])
def test_by_default_nobody_is_believed(forwarded: bytes) -> None:
    assert ClientAddresses().find("192.0.2.1", forwarded) == packed("192.0.2.1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", b"6.6.6.6", "192.0.2.1"),
        ("10.0.0.1", b"192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", b"6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", b"6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", b"192.0.2.1,10.0.0.2,fd00::3", "192.0.2.1"),
        ("10.0.0.1", b"10.0.0.9, 10.0.0.2", "10.0.0.9"),
        ("10.0.0.1", b"10.0.0.19", "10.0.0.19"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", b"[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", b"::ffff:192.0.2.1", "192.0.2.1"),
        ("fd00::1%eth0", b"192.0.2.1", "192.0.2.1"),
    ],
)
def test_the_right_most_hop_that_is_not_trusted_is_the_client(peer: str, forwarded: bytes, client: str) -> None:
    assert ADDRESSES.find(peer, forwarded) == packed(client)


@pytest.mark.parametrize(
    "forwarded",
    [b"unknown", b",", b" ", b"192.0.2.1, ", b"192.0.2.999", b"0x7f000001", b"[192.0.2.999]", b"\xff", b"192.0.2.1 x"],
)
def test_what_cannot_be_read_ends_the_search_at_the_hop_before(forwarded: bytes) -> None:
    assert ADDRESSES.find("10.0.0.1", forwarded) == packed("10.0.0.1")
    assert ADDRESSES.find("10.0.0.1", forwarded + b", 10.0.0.7") == packed("10.0.0.7")


def test_a_header_without_end_is_followed_for_a_bounded_number_of_hops() -> None:
    endless = b"6.6.6.6" + b", 10.0.0.1" * 10_000
    assert ADDRESSES.find("10.0.0.1", endless) == packed("10.0.0.1")


@pytest.mark.parametrize("peer", ["", "unix:", "testclient"])
def test_a_peer_without_an_address_has_none_unless_its_socket_is_trusted(peer: str) -> None:
    assert ADDRESSES.find(peer, b"192.0.2.1") is None
    assert ClientAddresses(["unix"]).find(peer, b"6.6.6.6, 192.0.2.1") == packed("192.0.2.1")
    assert ClientAddresses(["unix"]).find(peer, b"") is None


@given(st.text(max_size=40), st.binary(max_size=100))
def test_no_address_raises(peer: str, forwarded: bytes) -> None:
    for addresses in (ADDRESSES, ClientAddresses(["unix", "0.0.0.0/0"])):
        found = addresses.find(peer, forwarded)
        assert found is None or len(found) in (4, 16)


@given(st.ip_addresses())
def test_an_address_packs_as_the_standard_library_packs_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert pack_address(str(address)) == (address if mapped is None else mapped).packed


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_network_holds_what_the_standard_library_says_it_holds(
    base: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    bits: int,
) -> None:
    network = ipaddress.ip_network(f"{base}/{min(bits, base.max_prefixlen)}", strict=False)
    networks = Networks([str(network)])
    assert base.packed in networks
    assert (other.packed in networks) == (other in network)


def test_buckets_are_in_range_and_depend_on_key_tenant_and_address() -> None:
    pairs = {
        join_buckets(KEY, "acme", packed("192.0.2.1")),
        join_buckets(KEY, "acme", packed("192.0.2.2")),
        join_buckets(KEY, "globex", packed("192.0.2.1")),
        join_buckets(b"q" * 32, "acme", packed("192.0.2.1")),
    }
    assert len(pairs) == 4
    assert all(0 <= number < JOIN_BUCKETS for pair in pairs for number in pair)


def test_the_addresses_of_one_subscriber_share_their_buckets() -> None:
    one = join_buckets(KEY, "acme", packed("2001:db8:1:2::1"))
    assert one == join_buckets(KEY, "acme", packed("2001:db8:1:2:ffff::9"))
    assert one != join_buckets(KEY, "acme", packed("2001:db8:1:3::1"))


def test_addresses_spread_over_all_buckets() -> None:
    pairs = [join_buckets(KEY, "acme", number.to_bytes(4, "big")) for number in range(20_000)]
    for row in (0, 1):
        counts = [0] * JOIN_BUCKETS
        for pair in pairs:
            counts[pair[row]] += 1
        assert max(counts) < 40, "ten on average"
    assert len(set(pairs)) > 19_900, "two addresses seldom share both"
