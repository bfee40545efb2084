"""Endpoints that users write in one string: a reflector, a nameserver.

Each rule is one expression for two readers: the API server refuses with the fix (CEL), and the operator refuses objects
that are older than the rule, since a slot whose configuration cannot be read takes no mail.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from lane_api.model import cel

__all__ = ["Nameserver", "ReflectorUrl"]

_PORT: Final = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
"""1 to 65535."""
_HOST: Final = r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])"
_REFLECTOR: Final = f"^tcp://{_HOST}(:{_PORT})?$"
_REFLECTOR_HELP: Final = (
    "must be tcp://host or tcp://host:port with a port from 1 to 65535, 25 by default, such as tcp://198.51.100.5:25 "
    "or tcp://[2001:db8::5]"
)


def _is_reflector(text: str) -> str:
    """What pydantic asks; raises ValueError with the API server's words."""
    if not re.match(_REFLECTOR, text):
        raise ValueError(_REFLECTOR_HELP)
    return text


ReflectorUrl = Annotated[
    str,
    Field(max_length=128, json_schema_extra=cel((f"self.matches(r'{_REFLECTOR}')", _REFLECTOR_HELP))),
    AfterValidator(_is_reflector),
]
"""A host that tells which address it sees."""
Nameserver = Annotated[
    str,
    Field(
        min_length=2,
        max_length=64,
        json_schema_extra=cel(
            (
                (
                    f"isIP(self) || (self.matches('^[0-9.]+:{_PORT}$') && isIP(self.split(':')[0])) "
                    f"|| (self.matches('^[[][0-9a-fA-F:.]+[]]:{_PORT}$') && isIP(self.split(']')[0].substring(1)))"
                ),
                "must be an address, or address:port, such as 192.0.2.53, 192.0.2.53:5300 or [2001:db8::53]:5300",
            )
        ),
    ),
]
"""A DNS resolver: it has no name, since it is what resolves names."""
