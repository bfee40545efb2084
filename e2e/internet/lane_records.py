"""What a lane asks to have in DNS, read from its status; pure.

Invariant: only what is asked for and not seen yet; both kinds of DKIM key, and those that sign next. Before:
`kubectl get lane -o json`. After: `Internet.publish_txt`, for tests, the demo and `python -m e2e.internet publish`.
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
