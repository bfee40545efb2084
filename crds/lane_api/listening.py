"""Where a relay listens, and with which certificate: parts of RelayConfig that several of its fields are made of."""

from typing import Annotated

from pydantic import Field

from lane_api.model import ConfigModel
from lane_api.quantities import ByteSize

__all__ = ["Endpoint", "HttpListener", "TlsFiles"]


class Endpoint(ConfigModel):
    """An address to listen on; both families with `::`."""

    host: str = "::"
    port: Annotated[int, Field(ge=0, le=65535)]


class TlsFiles(ConfigModel):
    """A certificate chain and its key, in PEM; reloaded when they change."""

    certificate: str
    key: str


class HttpListener(Endpoint):
    """Where `POST /v1/messages` is answered: HTTPS with the certificate of `tls`."""

    plain: bool = False
    """HTTP without TLS: on loopback, or where a service mesh encrypts; else whoever is on the way reads passwords."""
    max_request_size: Annotated[ByteSize, Field(ge=1024)] | None = None
    """Of a request's body; base64 makes attachments a third longer. Absent: twice maxMessageSize."""
    max_recipients: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Of one request; each gets a message of their own."""
