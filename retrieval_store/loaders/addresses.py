"""Which addresses are public: where a stranger's uri may lead.

By the special-purpose registries of IANA for IPv4 and IPv6, all rows that aren't globally reachable
or were withdrawn. Tables of our own, since what the standard library calls global depends on the
version of Python.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from retrieval_store.errors import DataLoaderError

NOT_PUBLIC_4 = [
    IPv4Network("0.0.0.0/8"),  # this network
    IPv4Network("10.0.0.0/8"),  # private use
    IPv4Network("100.64.0.0/10"),  # shared by a provider's customers
    IPv4Network("127.0.0.0/8"),  # loopback
    IPv4Network("169.254.0.0/16"),  # link-local, with the servers that tell clouds' secrets
    IPv4Network("172.16.0.0/12"),  # private use
    IPv4Network("192.0.0.0/24"),  # protocols of the IETF: 192.0.0.0/29 and .8, .170 and .171
    IPv4Network("192.0.2.0/24"),  # documentation
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, withdrawn; in it 192.88.99.2, of 6a44
    IPv4Network("192.168.0.0/16"),  # private use
    IPv4Network("198.18.0.0/15"),  # benchmarks
    IPv4Network("198.51.100.0/24"),  # documentation
    IPv4Network("203.0.113.0/24"),  # documentation
    IPv4Network("224.0.0.0/4"),  # multicast
    IPv4Network("240.0.0.0/4"),  # reserved; in it 255.255.255.255, broadcast
]
PUBLIC_4 = [  # … within these
    IPv4Network("192.0.0.9/32"),  # anycast of the Port Control Protocol
    IPv4Network("192.0.0.10/32"),  # anycast of TURN
]

# Of IPv6 only this is given out for the internet. Outside lie, among others, ::1 and ::, IPv4 in
# its old guises (::/96, ::ffff:0:0:0/96), 64:ff9b:1::/48 (local NAT64), 100::/64 and
# 100:0:0:1::/64 (discard, dummy), 5f00::/16 (segment routing), fc00::/7 (unique local),
# fe80::/10 and fec0::/10 (link and site-local), ff00::/8 (multicast).
GIVEN_OUT_6 = IPv6Network("2000::/3")
NOT_PUBLIC_6 = [
    IPv6Network("2001::/23"),  # protocols of the IETF: Teredo, 2001:2::/48 (benchmarks), 2001:10::
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4, which leads to an IPv4
    IPv6Network("3fff::/20"),  # documentation
]
PUBLIC_6 = [  # … within these
    IPv6Network("2001:1::1/128"),  # anycast of the Port Control Protocol
    IPv6Network("2001:1::2/128"),  # anycast of TURN
    IPv6Network("2001:1::3/128"),  # anycast of DNS-SD registration
    IPv6Network("2001:3::/32"),  # multicast tunnelled (AMT)
    IPv6Network("2001:4:112::/48"),  # AS112
    IPv6Network("2001:20::/28"),  # ORCHIDv2
    IPv6Network("2001:30::/28"),  # drones' identities
]
NAT64 = IPv6Network("64:ff9b::/96")  # the IPv4 in it counts


def refuse_private(text: str) -> None:
    """Raise DataLoaderError unless the address is a public one, also where IPv6 holds an IPv4."""
    address = ip_address(text.partition("%")[0])
    if not _is_public(address):
        raise DataLoaderError(f"its server has the address {address}, which isn't public")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return _in(PUBLIC_4, address) or not _in(NOT_PUBLIC_4, address)
    if address.ipv4_mapped is not None or address in NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if _in(PUBLIC_6, address):
        return True
    return address in GIVEN_OUT_6 and not _in(NOT_PUBLIC_6, address)


def _in(
    networks: list[IPv4Network] | list[IPv6Network], address: IPv4Address | IPv6Address
) -> bool:
    return any(address in network for network in networks)
