"""The base of every model in the agreement, and the bounded strings that its fields share.

Objects from the API server ignore what they do not know (an older operator must survive a newer CRD; the API server
itself refuses unknown fields under strict validation). What one of our programs writes for another refuses them.
Every string and list is bounded: the API server estimates the cost of CEL rules from the bounds (KEP-2876).
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = [
    "PLAIN_ADDRESS",
    "Address",
    "ApiModel",
    "ConfigModel",
    "DomainName",
    "Hostname",
    "Label",
    "LabelValue",
    "MailDomain",
    "MxPattern",
    "ObjectName",
    "Port",
    "Text",
    "cel",
    "cel_of_change",
    "list_map",
]

PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9.-]+\.[a-z0-9-]+")
"""One address, plain enough for every server: a local part without quotes, a domain in lower-case A-labels."""
_SPELLINGS = {
    "connectionsPerIp": "connectionsPerIP",
    "totalConnectionsPerIp": "totalConnectionsPerIP",
    "implicitTlsPort": "implicitTLSPort",
    "outboundTls": "outboundTLS",
    "trustAd": "trustAD",
}


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Schema extension: CEL rules, each with the message that names the fix; the API server refuses what breaks one."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def cel_of_change(*rules: tuple[str, str]) -> dict[str, Any]:
    """Schema extension: CEL rules of a list, evaluated only when it is another one than before.

    For rules that compare entries with each other: every write to the object, also to its status, would pay for them.
    """
    return {
        "x-kubernetes-validations": [
            {"rule": f"oldSelf.hasValue() && oldSelf.value() == self || ({rule})", "message": message, **_OPTIONAL}
            for rule, message in rules
        ]
    }


_OPTIONAL = {"optionalOldSelf": True}
"""An object that is made has nothing before it; without this its rules would be skipped (Kubernetes 1.30)."""


def list_map(key: str) -> dict[str, Any]:
    """Schema extension: a list whose entries are merged by this field when several writers apply it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _outside_name(name: str) -> str:
    """The field's camelCase name; IP and TLS keep their capitals, as users write them."""
    camel = to_camel(name)
    return _SPELLINGS.get(camel, camel)


class ApiModel(BaseModel):
    """A part of a custom resource, as users write it."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=_outside_name, populate_by_name=True)


class ConfigModel(BaseModel):
    """A part of a file that one of our programs reads; unknown fields are refused there."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_outside_name, populate_by_name=True)


ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of a Kubernetes object."""
Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label: namespaces, ISP names, selectors."""
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
"""Value of a Kubernetes label."""
DomainName = Annotated[str, Field(min_length=1, max_length=253)]
"""A mail domain or a pattern of one (`*`, `*.example.com`), lower case, IDNA A-labels."""
MailDomain = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=cel(
            (
                "self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "must be one domain in lower case, such as notify.example.com; other scripts as A-labels (xn--...)",
            )
        ),
    ),
]
"""A mail domain by its whole name."""
MxPattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=cel(
            (
                "self.matches('^([*][.])?([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "must be one MX host, or *. and a domain, in lower case, such as mx1.example.com or *.google.com",
            )
        ),
    ),
]
"""An MX host, or all below a domain."""
Hostname = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=cel(
            (
                "self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$')",
                (
                    "must be a fully qualified host name in lower case, such as out1.example.com: "
                    "receivers compare it with the PTR record of the address"
                ),
            )
        ),
    ),
]
"""A fully qualified host name (the HELO name of RFC 5321 section 2.3.5)."""
Address = Annotated[
    str,
    Field(
        min_length=2,
        max_length=45,
        json_schema_extra=cel(
            ("isIP(self)", "must be one IP address, such as 203.0.113.10 or 2001:db8::10, without a prefix length")
        ),
    ),
]
"""One IPv4 or IPv6 address."""
Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP port."""
Text = Annotated[str, Field(max_length=1024)]
"""Short free text."""
