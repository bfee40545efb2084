"""Answers that programs give for people: away, moved, challenged. They are no bounces (RFC 3834)."""

import re
from typing import Final

from lane_relay.mail.reports.parts import Mail

__all__ = ["is_automatic"]

_FIELDS: Final = (
    "x-autoreply",
    "x-autorespond",
    "x-auto-response",
    "x-autoresponder",
    "x-mail-autoreply",
    "x-vacation",
)
"""Set by vacation programs before RFC 3834 had a field for it; what they say makes no difference."""
_SUBJECT = re.compile(
    r"^\s*(?:out of (?:the )?office|automatic reply|auto(?:matic)?[ -]?(?:reply|response|antwort)|autoreply|"
    r"automatische antwort|abwesenheit|abwesend|r[ée]ponse automatique|absence du bureau|respuesta autom[aá]tica|"
    r"fuera de (?:la )?oficina|risposta automatica|resposta autom[aá]tica|automatisch antwoord|afwezig|"
    r"autosvar|automatisk svar|away from (?:my )?(?:mail|desk)|on vacation|i am away|vacation\b|"
    r"自动回复|自動回覆|自動応答|автоответ)",
    re.IGNORECASE,
)


def is_automatic(mail: Mail) -> bool:
    """An answer for a person; a report has said before that it is one, also where it calls itself auto-replied."""
    fields = mail.fields
    submitted = fields.get("auto-submitted", "").partition(";")[0].partition("(")[0].strip().lower()
    if submitted in ("auto-replied", "auto-notified"):
        return True
    if any(name in fields for name in _FIELDS) or fields.get("precedence", "").strip().lower() == "auto_reply":
        return True
    return _SUBJECT.search(fields.get("subject", "")) is not None
