"""What a relay signs with: the keys of each From domain, the next ones too; a part of relay.yaml."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, StringConstraints, model_validator

from lane_api.model import ConfigModel
from lane_api.relayfeedback import ReturnPath

__all__ = ["NextKey", "SecondKey", "SigningDomain"]


def _unquoted_off(value: Any) -> Any:
    """YAML reads `Off` without quotes as false."""
    return "Off" if value is False else value


class SecondKey(ConfigModel):
    """An Ed25519 key that signs beside the RSA one (RFC 8463)."""

    selector: str
    key_file: str


class NextKey(SecondKey):
    """The key that is to sign after the present one: DNS is asked for it, and nothing is signed with it."""

    ed25519: SecondKey | None = None


class SigningDomain(ConfigModel):
    """A From domain and its key."""

    name: Annotated[str, StringConstraints(to_lower=True)]
    mode: Annotated[Literal["Sign", "Off"], BeforeValidator(_unquoted_off)] = "Sign"
    selector: str = ""
    key_file: str = ""
    ed25519: SecondKey | None = None
    """Signs too once DNS answers its own selector; no mail waits for it. Receivers that know no Ed25519 ignore it."""
    next: NextKey | None = None
    verify_record: bool = True
    """Hold mail of this domain until DNS answers the selector with this key."""
    return_path: ReturnPath | None = None
    """Absent: the sender's own envelope sender, as with Keep."""

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.mode == "Sign" and not self.key_file:
            raise ValueError("signing needs selector and keyFile; write mode: Off to send its mail unsigned")
        # A lane's domain has its file named before there is a key, and gets the selector with it: its mail waits.
        if self.mode == "Sign" and not self.selector and not self.verify_record:
            raise ValueError("signing needs a selector; with verifyRecord: false nothing would wait for one")
        return self
