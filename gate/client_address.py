"""Says from which address a request comes, and hides it in the numbers that the join limit counts by."""

import ipaddress
from collections.abc import Iterable
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_pton

JOIN_BUCKETS = 2048
_MAPPED = bytes(10) + b"\xff\xff"
_MOST_HOPS = 32


def pack_address(text: str) -> bytes | None:
    """An IP address as its 4 or 16 bytes, None when it is none; an IPv4 address that IPv6 wraps becomes itself."""
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        packed = inet_pton(AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


class Networks:
    """A set of IPv4 and IPv6 networks such as `10.0.0.0/8`; raises ValueError for a text that is none."""

    __slots__ = ("_four", "_six")

    def __init__(self, networks: Iterable[str]) -> None:
        self._four: list[tuple[int, int]] = []
        self._six: list[tuple[int, int]] = []
        for text in networks:
            network = ipaddress.ip_network(text)
            listed = self._four if network.version == 4 else self._six
            listed.append((int(network.network_address), int(network.netmask)))

    def __contains__(self, packed: bytes) -> bool:
        number = int.from_bytes(packed, "big")
        return any(number & mask == network for network, mask in (self._four if len(packed) == 4 else self._six))


class ClientAddresses:
    """Finds the client behind the proxies that are trusted.

    Each proxy appends the address that it was called from to X-Forwarded-For. So the right-most address which is not a
    trusted proxy's is the client; whatever stands further left, the client may have written itself. `trusted_proxies`:
    networks; `unix` among them trusts a proxy that comes through a socket without an address.
    """

    __slots__ = ("_proxies", "_trusts_any", "_trusts_socket")

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        networks = set(trusted_proxies)
        self._trusts_any = bool(networks)
        self._trusts_socket = "unix" in networks
        self._proxies = Networks(networks - {"unix"})

    def trusts(self, peer: str) -> bool:
        """Whether the other end of the connection is one of the trusted proxies."""
        hop = pack_address(peer)
        return self._trusts_any and (self._trusts_socket if hop is None else hop in self._proxies)

    def find(self, peer: str, forwarded_for: bytes) -> bytes | None:
        """The client's address, packed; None when the peer has none. What cannot be read ends the search at the hop before."""
        hop = pack_address(peer)
        if not forwarded_for or not self._trusts_any:
            return hop
        end = len(forwarded_for)
        for _ in range(_MOST_HOPS):
            if not (self._trusts_socket if hop is None else hop in self._proxies) or end < 0:
                break
            start = forwarded_for.rfind(b",", 0, end)
            before = _hop(forwarded_for[start + 1 : end])
            if before is None:
                break
            hop, end = before, start
        return hop


def _hop(entry: bytes) -> bytes | None:
    """One entry of X-Forwarded-For; some proxies add the port, which IPv6 puts behind brackets."""
    text = entry.strip().decode("latin-1")
    if text[:1] == "[":
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return pack_address(text)


def join_buckets(key: bytes, tenant: str, address: bytes) -> tuple[int, int]:
    """The two counters, each from 0 to 2,047, in which a join from a packed address is counted.

    An IPv4 address counts by itself, an IPv6 one by its /64: that is what one subscriber has. `key`: secret, at most 64
    bytes; without it the numbers tell nothing of the address, and even with it many share each pair.
    """
    digest = blake2b(tenant.encode() + b"\0" + address[:8], digest_size=4, key=key).digest()
    return int.from_bytes(digest[:2], "big") % JOIN_BUCKETS, int.from_bytes(digest[2:], "big") % JOIN_BUCKETS
