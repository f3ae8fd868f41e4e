"""Which addresses an answer may send us to: a server's words must not make this machine ask its own network. Pure.

The same parse is judged and connected to, so there are no two readings of an address for a trick to fit between.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin, urlsplit

import httpx

from batchbanana.transport.secret import Secret

LONGEST = 16 * 1024  # characters; signed addresses have a few thousand
NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")  # punycode included; no percent signs, no zones
LONGEST_NAME = 253  # characters, as the name system has it
NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
INNER_NAMES = (".localhost", ".local", ".internal", ".home.arpa")  # names that only mean something inside a network
GLOBAL_UNICAST = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address as networks without IPv4 write it
# Counted as global by the library: of protocols; of relays from IPv4 to IPv6, long out of use; of documents.
NOT_PUBLIC = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))

Address = IPv4Address | IPv6Address


class RefusedError(Exception):
    """An address must not be asked; the message is half a sentence that says why, without the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address that may be asked, if what its name resolves to may.

    Attributes:
        host: lower case, without a dot at the end.
        literal: the IP address that the host is; None when it is a name.
    """

    url: httpx.URL
    host: str
    literal: Address | None

    @property
    def port(self) -> int:
        """The port to connect to."""
        return self.url.port or (443 if self.url.scheme == "https" else 80)


class Guard:
    """Judges addresses by where the base is.

    Args:
        base: the base URL. Its own host may be asked wherever its name leads, be it into a private network: whoever
            set the base sends the key there. A base on loopback opens all of loopback, every port of it.
        secret: the key, which must not travel in an address either.

    Attributes:
        secret: the same.
    """

    def __init__(self, base: str, secret: str = "") -> None:
        parts = urlsplit(base)
        self._host = _canonical((parts.hostname or "").lower())
        self._on_loopback = is_loopback(self._host)
        self._is_plain = parts.scheme == "http"
        self._folder = f"{base}/"
        self.secret = Secret(secret)

    def absolute(self, url: str) -> str:
        """Give an address in full: one that names no host is of the base's, and one without a scheme has the base's.

        Raises:
            RefusedError: it is none.
        """
        if not url or SCHEME.match(url):
            return url
        try:
            return urljoin(self._folder, url)
        except ValueError:  # a bracket that does not close
            raise RefusedError("its address is none") from None

    def target(self, url: str) -> Target:
        """Read an address and judge all of it that is known without asking anybody.

        Raises:
            RefusedError: it must not be asked.
        """
        if self.secret.is_in(url):
            raise RefusedError("its address holds the API key")
        parsed = _parse(url)
        if parsed.userinfo:
            raise RefusedError("its address holds a user name or password")
        host = _canonical(parsed.raw_host.decode("ascii"))
        # A base that is asked in plain words itself, with the key, may answer so: on loopback, or from its own host.
        may_be_plain = self._is_plain and (self._on_loopback or host == self._host)
        if parsed.scheme != "https" and not (parsed.scheme == "http" and may_be_plain):
            raise RefusedError("its address is not https")
        literal = _literal(host)
        if literal is None:
            self._check_name(host)
        elif not self.allows(host, literal):
            raise RefusedError("its address is in a private network")
        return Target(url=parsed, host=host, literal=literal)

    def allows(self, host: str, address: Address) -> bool:
        """Say whether a host may be connected to at an address that it resolves to."""
        if host == self._host:
            return True
        return is_public(address) or (self._on_loopback and _plain(address).is_loopback)

    def _check_name(self, host: str) -> None:
        if host == self._host or (self._on_loopback and is_loopback_name(host)):
            return
        if len(host) > LONGEST_NAME or not NAME.fullmatch(host):
            raise RefusedError("its address has no proper host")
        if "." not in host or host.endswith(INNER_NAMES):
            raise RefusedError("its address is in a private network")


def is_loopback_name(host: str) -> bool:
    """Whether a name means this machine everywhere."""
    return host == "localhost" or host.endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or as an address in any spelling."""
    try:
        literal = _literal(host)
    except RefusedError:
        return False
    return is_loopback_name(host) or (literal is not None and literal.is_loopback)


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet, also when it is an IPv4 address in IPv6's clothes."""
    address = _plain(address)
    if any(address in network for network in NOT_PUBLIC):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not (address.is_multicast or address.is_reserved)
    if address.sixtofour is not None and not is_public(address.sixtofour):
        return False
    return address in GLOBAL_UNICAST and address.is_global


def _plain(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _parse(url: str) -> httpx.URL:
    wrong = RefusedError("its address is none")
    if len(url) > LONGEST:
        raise wrong
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise wrong from None
    if not parsed.raw_host or not (parsed.port is None or 0 < parsed.port <= 65535):
        raise wrong
    return parsed


def _canonical(host: str) -> str:
    return host.removesuffix(".")


def _literal(host: str) -> Address | None:
    """Read a host that is an IP address in any spelling that some resolver takes; None for a name.

    Raises:
        RefusedError: it looks like an address and is none.
    """
    try:
        if ":" in host:
            return IPv6Address(host)
        labels = host.split(".")
        return _ipv4(labels) if NUMBER.fullmatch(labels[-1]) else None
    except (AddressValueError, ValueError):
        raise RefusedError("its address has no proper host") from None


def _ipv4(labels: list[str]) -> IPv4Address:
    """Read one to four decimal, octal or hexadecimal numbers, of which the last fills the rest of the address."""
    if len(labels) > 4 or not all(NUMBER.fullmatch(label) for label in labels):
        raise ValueError("not an IPv4 address")
    *heads, last = [_number(label) for label in labels]
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        raise ValueError("not an IPv4 address")
    return IPv4Address(sum(head << 8 * (3 - at) for at, head in enumerate(heads)) + last)


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if label.startswith("0") and len(label) > 1 else int(label)


def address_of(text: str) -> Address:
    """Read an address as the system's resolver writes it."""
    return ip_address(text)
