"""Rows about the message: how it is signed, encrypted, made, and what it says."""

from typing import Final

from lane_api.isppolicy import Action, Category, Scope
from lane_relay.deliver.default_rules.row import HOUR, rule

__all__ = ["ABOUT_THE_MESSAGE"]

ABOUT_THE_MESSAGE: Final = (
    rule(
        "unauthenticated",
        r"(?i)^5.*(\b5\.7\.(2[0-46-79]|30|509|515)\b|unauthenticated (email|mail|message)|is unauthenticated|"
        r"authentication (information|checks|failed for)|not (properly )?authenticated)",
        Category.AUTH_FAILURE,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.7.26 This mail has been blocked because the sender is unauthenticated.",
        "550 5.7.515 Access denied, sending domain example.com doesn't meet the required authentication level.",
    ),
    rule(
        "their-lookup-failed",
        r"(?i)^4.*((dns|lookup).{0,30}(fail|error|timeout|timed out)|temporary dns|"
        r"(can('|no)t|could not|unable to) resolve)",
        Category.DNS_FAILURE,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.4.0 <a@example.com> Temporary DMARC DNS lookup failure (G1E)",
    ),
    rule(
        "unauthenticated-for-now",
        r"(?i)^4.*(\b4\.7\.(2[0-46-79]|30|31|32|40)\b|\b(spf|dkim|dmarc)\b|authentication (information|checks))",
        Category.AUTH_FAILURE,
        Action.RETRY,
        Scope.RECIPIENT,
        "451 4.7.26 This mail is unauthenticated, which poses a security risk; please set up SPF or DKIM",
        "421-4.7.0 This message does not have authentication information or fails to pass authentication checks.",
        again=HOUR / 4,
    ),
    rule(
        "tls-wanted",  # a 530 is about this session (RFC 3207 section 4): the next may have TLS
        r"(?i)^(4|530).*(must issue a starttls|\b(starttls|tls|encryption)\b.{0,40}(required|needed|mandatory)|"
        r"requires? (encryption|(start)?tls)\b|not .{0,20}over a tls)",
        Category.TLS_POLICY,
        Action.RETRY,
        Scope.SITE,
        "530 5.7.0 Must issue a STARTTLS command first",
        "421 4.7.0 TLS required for RCPT domain, closing connection.",
        again=HOUR / 4,
    ),
    rule(
        "tls-wanted-for-good",
        r"(?i)^5.*(\b(starttls|tls|encryption)\b.{0,40}(required|needed|mandatory)|not .{0,20}over a tls|"
        r"requires? (encryption|(start)?tls|.{0,20}ciphers)\b|encryption need|\b5\.7\.11\b.*encrypt)",
        Category.TLS_POLICY,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.7.10 Encryption required",
        "553 This route requires encryption (TLS)",
    ),
    rule(
        "spam-or-virus",  # filters that do not say which
        r"(?i)^5.*spam ?(or|and|/) ?(a )?(virus|malware|phish)",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550-5.7.0 Message considered as spam or virus, rejected",
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
        r"(?i)^5.*(\b5\.6\.[0-9]|\b5\.5\.6\b|bare (lf|cr|line ?feed)|(missing|duplicate|multiple|invalid|malformed|"
        r"improper|disallowed|in message).{0,20}header|message is malformed|"
        r"attachment|rfc ?[0-9]{3,4}|addresses in from|header (error|too)|headers? (too|are not)|"
        r"content (reject|restriction|polic)|"
        r"invalid (structure|data)|data refused|"
        r"presents a potential|banned content|contains? invalid char|executable|line length exceeded|"
        r"multiple from addresses)",
        Category.CONTENT_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 5.6.0 Message contains invalid header",
        "550 5.7.1 Messages with multiple addresses in From: header are not accepted; see RFC 5322",
        "550 5.7.1 Message rejected due to content restrictions",
    ),
    rule(
        "spam",
        r"(?i)^5.*(\bspam|unsolicited|\bbulk (mail|email)|junk|mail \S+ is rejected|mail content denied|suspicious|"
        r"\bube\b|anti-?spam|advertis|recurrent pattern|"
        r"message filtered\. |\bDT:SP[A-Z]\b|spamshield|"
        r"\bas bulk)",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 Mail content denied",
        "550-5.7.1 Our system has detected that this message is likely unsolicited mail.",
    ),
    rule(
        "content",  # behind the spam: where none is named
        r"(?i)^5.*(content[- ](filter|policy)|reject(s|ed|ing)? (mail )?content|unacceptable content|"
        r"html tag|phone number filter)",
        Category.CONTENT_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 Message cannot be accepted, content filter rejection",
        "550 5.7.1 Content-Policy reject",
    ),
    rule(
        "spam-for-now",
        r"(?i)^4.*(\bspam|unsolicited|suspicious|suspect content|anti-?spam|\bDT:SP[A-Z]\b)",
        Category.SPAM_RELATED,
        Action.RETRY,
        Scope.RECIPIENT,
        "421 4.7.0 Message is suspected of being unsolicited; try later",
    ),
    rule(
        "too-large",
        r"(?i)^5.*(\b5\.3\.4\b|\b5\.2\.3 (?:message|your)|(message|size)\b.{0,40}(too (large|big|long)|exceed|"
        r"over)|line limit|size limit|maximum .{0,20}message size|taille limite)",
        Category.CONTENT_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "552 5.3.4 Message size exceeds fixed maximum message size",
        "550 Message too large",
    ),
    rule(
        "protocol-for-now",
        r"(?i)^4.*(\b4\.5\.[0-24-9]\b|protocol (violation|error)|sequence of commands)",
        Category.PROTOCOL_ERRORS,
        Action.RETRY,
        Scope.RECIPIENT,
        "451 4.5.0 SMTP protocol violation, see RFC 2821",
    ),
    rule(
        "timed-out",
        r"(?i)^4.*(\b4\.4\.2\b|time-?out|timed out|connection (dropped|expired|reset))",
        Category.BAD_CONNECTION,
        Action.RETRY,
        Scope.SITE,
        "451 4.4.2 Timeout - closing connection.",
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
