"""Rows about the message: how it is signed, encrypted, made, and what it says."""

from typing import Final

from lane_api.isppolicy import Action, Category, Scope
from lane_relay.deliver.default_rules.row import HOUR, rule

__all__ = ["ABOUT_THE_MESSAGE"]

ABOUT_THE_MESSAGE: Final = (
    rule(
        "unauthenticated",
        r"(?i)^5.*(\b5\.7\.(2[0-46-7]|30|509|515)\b|dmarc|unauthenticated (email|mail|message)|is unauthenticated|"
        r"authentication information|(spf|"
        r"dkim)\b.{0,40}"
        r"(fail|not pass|required)|not (properly )?authenticated)",
        Category.AUTH_FAILURE,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550-5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.",
        "550 5.7.515 Access denied, sending domain example.com doesn't meet the required authentication level.",
    ),
    rule(
        "their-lookup-failed",
        r"(?i)^4.*(dns|lookup).{0,30}(fail|error|timeout|timed out)",
        Category.DNS_FAILURE,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.4.0 <a@example.com> Temporary DMARC DNS lookup failure (G1E)",
    ),
    rule(
        "unauthenticated-for-now",
        r"(?i)^4.*(\b4\.7\.(2[0-46-7]|32)\b|dmarc|(spf|dkim)\b.{0,40}(fail|not pass|required))",
        Category.AUTH_FAILURE,
        Action.RETRY,
        Scope.RECIPIENT,
        "451 4.7.26 This mail is unauthenticated, which poses a security risk; please set up SPF or DKIM",
        again=HOUR / 4,
    ),
    rule(
        "tls-wanted",
        r"(?i)must issue a starttls|\b(starttls|tls|encryption)\b.{0,40}(required|needed|mandatory)|"
        r"\b5\.7\.(10|30)\b",
        Category.TLS_POLICY,
        Action.RETRY,
        Scope.SITE,
        "530 5.7.0 Must issue a STARTTLS command first",
        "550 5.7.10 Encryption required",
        again=HOUR / 4,
    ),
    rule(
        "virus",
        r"(?i)^5.*\b(virus|malware|infected|trojan|phish)",
        Category.VIRUS_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.7.1 The message contains a virus (Eicar-Test-Signature)",
    ),
    rule(
        "said-to-be-spam",
        r"(?i)^5.*(\bube\b|\b(as|is) spam\b|spam (message|with))",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 5.7.1 Message rejected as spam",
    ),
    rule(
        "bad-content",
        r"(?i)^5.*(\b5\.6\.[0-9]|bare (lf|cr|line ?feed)|(missing|duplicate|multiple|invalid|malformed|"
        r"improper).{0,20}header|"
        r"attachment|rfc ?[0-9]{3,4}|addresses in from|header (error|too)|headers? (too|are not)|content reject|"
        r"invalid (structure|data)|data refused|"
        r"presents a potential|banned content)",
        Category.CONTENT_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 5.6.0 Message contains invalid header",
        "550 5.7.1 Messages with multiple addresses in From: header are not accepted; see RFC 5322",
    ),
    rule(
        "spam",
        r"(?i)^5.*(\bspam|unsolicited|\bbulk (mail|email)|junk|mail \S+ is rejected|mail content denied|suspicious|"
        r"\bube\b|anti-spam|"
        r"message filtered\. )",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 Mail content denied",
        "550-5.7.1 Our system has detected that this message is likely unsolicited mail.",
    ),
    rule(
        "spam-for-now",
        r"(?i)^4.*(\bspam|unsolicited|suspicious)",
        Category.SPAM_RELATED,
        Action.RETRY,
        Scope.RECIPIENT,
        "421 4.7.0 Message is suspected of being unsolicited; try later",
    ),
    rule(
        "too-large",
        r"(?i)^5.*(\b5\.3\.4\b|\b5\.2\.3 (?:message|your)|(message|size)\b.{0,40}(too (large|big|long)|exceed|"
        r"over)|line limit)",
        Category.CONTENT_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "552 5.3.4 Message size exceeds fixed maximum message size",
        "550 Message too large",
    ),
    rule(
        "policy-for-now",
        r"(?i)^4.*(polic(y|ies)|\babuse\b|restricted)",
        Category.POLICY_RELATED,
        Action.RETRY,
        Scope.RECIPIENT,
        "452 <a@example.com> Mailbox delivery restricted by policy error",
    ),
)
