"""Who issues a lane's certificate, and for which names: what cert-manager's Certificate is made of."""

from typing import Annotated

from pydantic import Field

from lane_api.model import ApiModel, ObjectName, cel

__all__ = ["IssuerRef", "ServerName"]

ServerName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=cel(
            (
                "self.matches('^([*][.])?([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "must be one name in lower case, such as submit.example.com, or *. and a domain",
            )
        ),
    ),
]
"""A name in a server's certificate."""


class IssuerRef(ApiModel):
    """One of cert-manager's issuers, or of another that it knows by its group."""

    name: ObjectName
    """Of the issuer."""
    kind: Annotated[str, Field(min_length=1, max_length=63, pattern="^[A-Z][A-Za-z0-9]*$")] = "Issuer"
    """Issuer (in the lane's namespace) or ClusterIssuer; another issuer's kind with its `group`. Default Issuer."""
    group: Annotated[str, Field(min_length=1, max_length=253)] = "cert-manager.io"
    """API group of the kind. Default cert-manager.io."""
