"""What can go wrong between us and the Kubernetes API or a relay, each kind once, each saying whether to try again.

Invariant: a library's exception never leaves the module that called the library; it becomes one of these.
Errors in what users wrote are no exceptions: they are values (`Refusal`) that end in a condition.
"""

__all__ = [
    "ConflictError",
    "ForbiddenError",
    "InvalidError",
    "KubeError",
    "NamespaceTerminatingError",
    "NotFoundError",
    "NotLeadingError",
    "StreamBrokenError",
    "UnavailableError",
    "WentBackError",
]


class KubeError(Exception):
    """The API server refused or did not answer; `status` is the HTTP status, 0 where there was none."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFoundError(KubeError):
    """The object, or its whole kind, is not there."""


class NotLeadingError(KubeError):
    """We are not sure of the Lease: another replica may be writing, so we do not."""


class ConflictError(KubeError):
    """The object changed, or is another one of the same name: read again and decide again."""


class ForbiddenError(KubeError):
    """Our rights do not cover it; only a person can change that."""


class NamespaceTerminatingError(ForbiddenError):
    """Nothing new can be made in a namespace that is being deleted."""


class InvalidError(KubeError):
    """The API server does not accept what we wrote: our bug, or a field that users hand through to a pod."""


class UnavailableError(KubeError):
    """No answer, or one that says later (429, 5xx): try again with back-off."""

    def __init__(self, message: str, status: int = 0, reason: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, status, reason)
        self.retry_after_s = retry_after_s


class StreamBrokenError(UnavailableError):
    """A watch that was open broke off: what it told until then stands, and it may be opened again from there."""


class WentBackError(Exception):
    """The API server's store went back: what we remember, and may have written on, is no more; only a restart helps.

    As after etcd was restored from a snapshot. No KubeError: trying again never heals it.
    """
