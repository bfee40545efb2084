"""Where a relay listens, and with which certificate: parts of RelayConfig that several of its fields are made of."""

from typing import Annotated

from pydantic import Field

from lane_api.model import ConfigModel

__all__ = ["Endpoint", "TlsFiles"]


class Endpoint(ConfigModel):
    """An address to listen on; both families with `::`."""

    host: str = "::"
    port: Annotated[int, Field(ge=0, le=65535)]


class TlsFiles(ConfigModel):
    """A certificate chain and its key, in PEM; reloaded when they change."""

    certificate: str
    key: str
