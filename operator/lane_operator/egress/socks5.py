"""Socks5: a proxy has the address, and everything that is to leave from it goes through that proxy (RFC 1928).

Invariant: the relay is handed the proxy's address and the folder of its credentials, and no slot gets another's.
"""

from lane_api.conditions import Reason
from lane_api.ippool import Socks5Proxy
from lane_api.names import PROXY_DIR, PROXY_SECOND
from lane_api.relayconfig import Socks5
from lane_operator.egress.claims import ONE_FAMILY, EngineClaim, Limits, SlotClaim
from lane_operator.inputs import Refusal

__all__ = ["LIMITS", "PROXY_PARTS", "claim", "proxy_entry"]

PROXY_PARTS = ("username", "password")
"""What a proxy may ask for (RFC 1929): entries of its owner's Secret, files of the relay's folder."""

LIMITS = Limits(
    source_check="the proxy's word on each connection, where it gives one, and a proof every 30 s while mail flows",
    leaks_at_start=False,
    texts=(
        "the address is the proxy's: while that is down nothing leaves from it",
        "the proxy sees what is not in TLS, and learns its password in the clear: keep it in a network of your own",
        "the proxy is named by its address; names are resolved by the slot, never by the proxy",
        ONE_FAMILY,
    ),
)


def proxy_entry(slot: str, part: str, *, second: bool = False) -> str:
    """The entry of the lane's Secret with one part (PROXY_PARTS) of a slot's credentials; `second`: for the proxy of
    its second address."""
    return f"{slot}.{PROXY_SECOND}.{part}" if second else f"{slot}.{part}"


def claim(slot: SlotClaim) -> EngineClaim | Refusal:
    """The proxies, with their credentials where they ask for some."""
    address = slot.address
    if address is None or address.proxy is None:
        message = f"slot {slot.slot} has no address with a proxy"
        return Refusal(Reason.ENGINE_LIMIT, message, waiting=Reason.ENGINE_LIMIT)
    second, own = address.second, address.second.proxy if address.second is not None else None
    refusal = _missing(slot, address.ip, address.proxy)
    if refusal is None and second is not None and own is not None:
        refusal = _missing(slot, second.ip, own, second=True)
    if refusal is not None:
        return refusal
    return EngineClaim(
        proxy=_through(address.proxy, PROXY_DIR, address.source),
        second_proxy=None
        if second is None
        else _through(address.proxy, PROXY_DIR, second.source)
        if own is None
        else _through(own, f"{PROXY_DIR}/{PROXY_SECOND}", second.source),
    )


def _missing(slot: SlotClaim, ip: str, proxy: Socks5Proxy, *, second: bool = False) -> Refusal | None:
    missing = [part for part in PROXY_PARTS if proxy_entry(slot.slot, part, second=second) not in slot.credentials]
    if not proxy.secret_name or not missing:
        return None
    field = "second.proxy" if second else "proxy"
    return Refusal(
        Reason.SECRET_KEY_MISSING,
        f"Secret {proxy.secret_name} in the pool's namespace (addresses[{ip}].{field}.secretName) is not "
        f"there or has no entry {', '.join(missing)}: create it with username and password",
        waiting=Reason.WAITING_FOR_SECRET,
    )


def _through(proxy: Socks5Proxy, folder: str, source: str | None) -> Socks5:
    return Socks5.model_validate(
        {
            "host": proxy.address,
            "port": proxy.port or Socks5.model_fields["port"].default,
            "auth_dir": folder if proxy.secret_name else None,
            "bound": source,
        }
    )
