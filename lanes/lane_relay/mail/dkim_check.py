"""Our own check of a signature before its key goes live, by code that is not the signer's (dkimpy).

A record may carry the right key and still fail everywhere: for other hashes (h=), other services (s=), of another kind
(k=), or with a text that no verifier reads. Before it: the record as DNS answers it. After it: `resolve.selectors`.
"""

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

__all__ = ["signature_problem"]


def signature_problem(message: bytes, record: str) -> str:
    """Why a receiver that finds this TXT record would not accept the signature of the message, or an empty string."""
    text = record.encode("utf-8", "surrogateescape")
    problem = _restriction(text)
    if problem:
        return problem

    def answer(_name: bytes, timeout: int = 5) -> bytes:  # noqa: ARG001  # dkimpy's signature
        return text

    try:
        is_valid = dkim.DKIM(message).verify(dnsfunc=answer)
    except dkim.DKIMException as error:
        return f"a trial signature does not verify with it: {error}"
    return "" if is_valid else "a trial signature does not verify with it"


def _restriction(record: bytes) -> str:
    """What in the record rules our mail out and dkimpy does not look at (RFC 6376 section 3.6.1)."""
    try:
        tags = parse_tag_value(record)
    except InvalidTagValueList as error:
        return f"the record is no list of tags: {error}"
    hashes = tags.get(b"h", b"sha256").replace(b" ", b"").split(b":")
    if b"sha256" not in hashes:
        return f"the record's h={tags[b'h'].decode('ascii', 'replace')} allows no sha256, with which we sign: remove h="
    services = tags.get(b"s", b"*").replace(b" ", b"").split(b":")
    if not {b"*", b"email"} & set(services):
        return f"the record's s={tags[b's'].decode('ascii', 'replace')} is not for email: remove s="
    return ""
