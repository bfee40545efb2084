"""What a lane asks to have in DNS, read from its status; pure.

Invariant: only what is asked for and not seen yet; both kinds of DKIM key, and those that sign next. Before:
`kubectl get lane -o json`. After: `Internet.publish_txt` and `publish_host`, for
tests, the demo and `python -m e2e.internet publish`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def unpublished(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name, without the full stop at its end, and text of each TXT record that the lane waits for."""
    for domain in status.get("domains", ()):
        dkim = domain.get("dkim", {})
        following = dkim.get("next", {})
        for key in (dkim, dkim.get("ed25519", {}), following, following.get("ed25519", {})):
            if key.get("record") and not key.get("published"):
                yield key["recordName"].rstrip("."), key["record"]


def unnamed(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Hostname and address of each slot whose address is its own and is not known to lead back to its name."""
    if any(one["type"] == "PTRMatches" and one["status"] == "True" for one in status.get("conditions", ())):
        return
    for slot in status.get("slots", ()):
        if slot.get("hostname") and slot.get("ip", "shared") not in ("", "shared"):
            yield slot["hostname"], slot["ip"]
