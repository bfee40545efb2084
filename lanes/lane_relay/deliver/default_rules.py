"""What replies mean where a policy says nothing: our own table, after the policy's rules.

Written from the providers' published codes and RFC 3463, 5321, 7504, 7505. Three principles order it: a refusal of the
source never bounces a recipient; what names the mailbox is about the mailbox alone; an enhanced code decides only
together with its class. `tests/lane_relay/deliver/test_rules.py` holds each row to its examples.
Before it: `rules`. Invariant: the last rows of both tables take every 4yz and 5yz.
"""

from typing import Final

from lane_api.isppolicy import Action, Category, ResponseRule, Scope, Stage

__all__ = ["GREETING_RULES", "MESSAGE_RULES"]

_HOUR: Final = 3600.0


def _rule(  # the columns of the table, in their order
    name: str,
    pattern: str,
    category: Category,
    action: Action,
    scope: Scope,
    *examples: str,
    stage: Stage = Stage.ANY,
    hold: float | None = None,
    again: float | None = None,
) -> ResponseRule:
    return ResponseRule(
        id=name,
        stage=stage,
        pattern=pattern,
        category=category,
        action=action,
        scope=scope,
        for_=hold,
        retry_after=again,
        examples=examples,
    )


_ABOUT_THE_SOURCE: Final = (
    _rule(
        "url-listed",
        r"(?i)dbl\.spamhaus|\b(url|uri|link)s?\b.{0,60}\b(black|block|deny)?-?list|surbl|uribl",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.7.1 Message contains a URL listed in dbl.spamhaus.org",
        "554 5.7.1 Your message contains a link that is blacklisted",
        stage=Stage.END_OF_DATA,
    ),
    _rule(
        "outlook-block-list",
        r"^550[ -]5\.7\.1 .*\(?S(3140|3150|775)\)?",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "550 5.7.1 Unfortunately, messages from [203.0.113.10] weren't sent. Please contact your Internet service "
        "provider since part of their network is on our block list (S3150).",
        hold=2 * _HOUR,
        again=_HOUR,
    ),
    _rule(
        "outlook-banned-address",
        r"^550[ -]5\.7\.6[0-4][0-9]\b",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "550 5.7.606 Access denied, banned sending IP [203.0.113.10]",
        hold=2 * _HOUR,
        again=_HOUR,
    ),
    _rule(
        "t-online-block",
        r"^5[0-9][0-9][ -]IP=\S+ - ",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "554 IP=203.0.113.10 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to "
        "clarify.) (BL)",
        hold=2 * _HOUR,
        again=_HOUR,
    ),
    _rule(
        "frequency-limited",
        r"(?i)\b(ip|connection|domain|sender) frequency (is )?limited",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.SITE,
        "550 Ip frequency limited [c4xjZGUq0N1bGkq0]",
        "550 Connection frequency limited",
        hold=_HOUR,
        again=_HOUR / 2,
    ),
    _rule(
        "yahoo-complaints",
        r"\[(IPTS|TSS|TS)0[0-9]\]",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "421 4.7.0 [TSS04] Messages from 203.0.113.10 temporarily deferred due to unexpected volume or user complaints",
        "553 5.7.1 [TS03] All messages from 203.0.113.10 will be permanently deferred",
        hold=2 * _HOUR,
        again=_HOUR,
    ),
    _rule(
        "block-listed",
        r"(?i)blocked using|\bon our (block|black|deny)-?\s?list|(block|black)-?\s?listed|is listed (at|by|in|on)|"
        r"(zen|sbl|xbl|pbl|css)\.spamhaus|in spamhaus|spamhaus\.org/(query|sbl|pbl|xbl|css)|spamcop\.net|"
        r"barracudacentral|\bdnsbl|\brbl\b|\[BL2[0-9]\]|\bBL[0-9]{6}\b|cloudmark.*csi|sender ?score\.org",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "554 5.7.1 Service unavailable; Client host [203.0.113.10] blocked using zen.spamhaus.org",
        "550 5.7.1 Mail from 203.0.113.10 refused, see RBL server b.barracudacentral.org",
        "553 5.7.1 [BL21] Connections will not be accepted from 203.0.113.10, because the ip is in Spamhaus's list",
        "554-No SMTP service IP address is block listed.",
        "554 resimta-po-12v.sys.comcast.net comcast 203.0.113.10 Comcast block for spam. BL000010",
        hold=2 * _HOUR,
        again=_HOUR,
    ),
    _rule(
        "no-reverse-name",
        r"(?i)[45]\.7\.25\b|bad dns ptr|\b(missing|no|cannot find your|cannot resolve your|does not have a?|invalid) "
        r"(reverse|ptr|hostname)|reverse dns|ptr record",
        Category.BAD_CONFIGURATION,
        Action.BACKOFF,
        Scope.SITE,
        "550-5.7.25 The IP address sending this message does not have a PTR record setup",
        "450 4.7.1 Client host rejected: cannot find your reverse hostname, [203.0.113.10]",
        "554-No SMTP service Bad DNS PTR resource record.",
        hold=2 * _HOUR,
        again=_HOUR,
    ),
    _rule(
        "source-reputation",
        r"(?i)(poor|bad|low|negative) (ip |sender |sending )?reputation|reputation of the sending|"
        r"due to (ip|domain|sender) reputation|too many spams from your ip|\bofr_?\d*0?5?06\b|mail rejete",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "550-5.7.1 Our system has detected that this message is likely suspicious due to the very low reputation of "
        "the sending IP address.",
        "550 mwinf5c04 ME Mail rejete. Mail rejected. ofr_506 [506]",
        "421 Too many spams from your IP (203.0.113.10), please visit http://postmaster.example/",
        "451 4.7.650 The mail server [203.0.113.10] has been temporarily rate limited due to IP reputation.",
        hold=2 * _HOUR,
        again=_HOUR,
    ),
    _rule(
        "client-rejected",
        r"(?i)client host( \S+)? (rejected|blocked|denied)|client host rejected|"
        r"\b(ip|host|server|connection)\b.{0,60}(is|are|has been|was) (blocked|banned|denied|refused|rejected)|"
        r"\b(your|sending|client|source) (ip|host|server|mta)( address)? .{0,40}(block|ban|reject|denied|not allowed)",
        Category.POLICY_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "554 5.7.1 <unknown[203.0.113.10]>: Client host rejected: Access denied",
        "550 5.7.1 Your IP address 203.0.113.10 has been blocked by local policy",
        "554 5.7.1 Connection from 203.0.113.10 was refused by policy",
        hold=_HOUR,
        again=_HOUR / 2,
    ),
)

_RATES: Final = (
    _rule(
        "mailbox-receives-too-fast",
        r"(?i)^4.*\b4\.2\.1 .*receiving mail (at a rate|too quickly)",
        Category.RATE_LIMITED,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend later.",
        again=_HOUR / 4,
    ),
    _rule(
        "too-many-recipients",
        r"(?i)^4.*(\b4\.5\.3\b|too many recipients)",
        Category.POLICY_RELATED,
        Action.RETRY,
        Scope.RECIPIENT,
        "452 4.5.3 Too many recipients",
        again=60.0,
    ),
    _rule(
        "too-fast",
        r"(?i)\b[45]\.7\.28\b|unusual rate|\brate[- ]?(is )?limit|throttl|too (fast|quickly)|"
        r"too many (concurrent |simultaneous |open )?(smtp )?(connections|sessions|messages|emails|mails|errors)|"
        r"(connection|message|sending|hourly|daily|rate|mail|connections?) (limit|quota|rate)s? (has been |was )?"
        r"(exceeded|reached)|exceeded .{0,40}(connections?|rate|messages per)|excessive (volume|rate|message)|"
        r"slow down|OFR_?(999|004)|\bRL[0-9]{6}\b|RP-00[123]",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.SITE,
        "421 4.7.28 Our system has detected an unusual rate of mail from your IP address",
        "421 4.7.0 Too many concurrent SMTP connections from this IP address",
        "421 Rate limit reached. Please try again later",
        "421 mwinf5c04 ME Service refuse. Veuillez essayer plus tard. OFR_999 [999]",
        "421 4.2.1 RL000010 Throttled",
        "550 5.4.5 Daily sending quota exceeded",
    ),
    _rule(
        "server-busy",
        r"(?i)^4.*(server (is )?(too )?busy|4\.7\.500|service temporarily unavailable.*load|high load|"
        r"system resources|insufficient (system )?(resources|storage))",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.SITE,
        "451 4.7.500 Server busy. Please try again later from [203.0.113.10]. (AS77712345)",
        "452 4.3.1 Insufficient system storage",
        hold=_HOUR / 4,
    ),
    _rule(
        "greylisted",
        r"(?i)^4.*(gr[ea]y-?\s?list|postgrey|first (attempt|contact|time).{0,60}(again|later|back))",
        Category.GREYLISTED,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.7.1 Greylisted, please try again later",
        "450 4.2.0 <a@example.com>: Recipient address rejected: Greylisted, see http://postgrey.example/",
        "451 4.7.1 Graylisting in action, please come back later",
        again=300.0,  # most implementations wait 5 minutes (RFC 6647 section 2.1 speaks of minutes)
    ),
)

_ABOUT_THE_MAILBOX: Final = (
    _rule(
        "sender-refused",
        r"(?i)^5.*(\b5\.1\.[78]\b|\b5\.7\.27\b|sender\b.{0,60}(rejected|denied|invalid|not exist|"
        r"not found|unknown|verif))",
        Category.INVALID_SENDER,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.1.8 Sender address rejected: Domain not found",
    ),
    _rule(
        "mailbox-full",
        r"(?i)^5.*(\b5\.2\.2\b|(mailbox|inbox|account|user|recipient|storage).{0,40}(full|over ?quota|quota|exceeded)|"
        r"over ?quota|quota exceeded)",
        Category.QUOTA_ISSUES,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "552-5.2.2 The recipient's inbox is out of storage space",
        "550 Mailbox is full",
    ),
    _rule(
        "mailbox-full-for-now",
        r"(?i)^4.*(\b4\.2\.2\b|(mailbox|inbox|account|user|recipient|storage).{0,40}(full|over ?quota|quota|exceeded)|"
        r"over ?quota|quota exceeded)",
        Category.QUOTA_ISSUES,
        Action.RETRY,
        Scope.RECIPIENT,
        "452-4.2.2 The recipient's inbox is out of storage space",
        again=_HOUR,
    ),
    _rule(
        "mailbox-inactive",
        r"(?i)^5.*(\b5\.2\.1\b|(mailbox|account|user|recipient|address).{0,40}(disabled|inactive|suspended|deactivated|"
        r"closed|no longer (valid|in use|active|available)))",
        Category.INACTIVE_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.2.1 The email account that you tried to reach is inactive.",
        "554 5.7.1 delivery error: dd This user doesn't have an account; mailbox disabled",
    ),
    _rule(
        "mailbox-unknown",
        r"(?i)^5.*(\b5\.1\.[16]\b|(mailbox|account|user|recipient|address|customer|person)\b.{0,60}"
        r"(unknown|not found|not exist|doesn'?t exist|invalid|not (a )?(valid|known|listed|our)|unavailable|rejected|"
        r"undeliverable)|(unknown|no such|invalid|non-?existent) (mailbox|account|user|recipient|address|local|person)|"
        r"user not local|no mailbox)",
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550-5.1.1 The email account that you tried to reach does not exist.",
        "550 Requested action not taken: mailbox unavailable",
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        "554 delivery error: dd Sorry, this user's mailbox is unavailable",
        "550 No such user here",
        stage=Stage.RCPT,
    ),
    _rule(
        "mailbox-unknown-after-data",
        r"(?i)^5.*(\b5\.1\.1\b|(mailbox|account|user|recipient)\b.{0,40}(unknown|not found|not exist|doesn'?t exist)|"
        r"(unknown|no such) (mailbox|account|user|recipient))",
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 5.1.1 delivery error: no such user",
        stage=Stage.END_OF_DATA,
    ),
    _rule(
        "domain-unknown",
        r"(?i)^5.*(\b5\.1\.(2|10)\b|(domain|host)\b.{0,40}(not found|not exist|unknown|not (local|accepted|hosted)))",
        Category.BAD_DOMAIN,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.1.2 Bad destination host",
        "556 5.1.10 Recipient address has null MX",
        stage=Stage.RCPT,
    ),
    _rule(
        "relaying-denied",
        r"(?i)^5.*(relay(ing)?\b.{0,30}(denied|not permitted|not allowed|prohibited|access)|unable to relay|"
        r"not permitted to relay|we do not relay)",
        Category.RELAYING_ISSUES,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 5.7.1 <a@example.com>: Relay access denied",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
    ),
    _rule(
        "mail-loop",
        r"(?i)\b5\.4\.6\b|mail loop|too many hops|hop count exceeded|loops back to",
        Category.ROUTING_ERRORS,
        Action.BOUNCE,
        Scope.MESSAGE,
        "554 5.4.6 Too many hops",
    ),
)

_ABOUT_THE_MESSAGE: Final = (
    _rule(
        "unauthenticated",
        r"(?i)^5.*(\b5\.7\.(2[0-46-7]|515|9)\b|dmarc|unauthenticated (email|mail|message)|(spf|dkim)\b.{0,40}"
        r"(fail|not pass|required)|not (properly )?authenticated)",
        Category.AUTH_FAILURE,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550-5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.",
        "550 5.7.515 Access denied, sending domain example.com doesn't meet the required authentication level.",
    ),
    _rule(
        "unauthenticated-for-now",
        r"(?i)^4.*(\b4\.7\.(2[0-46-7]|32)\b|dmarc|(spf|dkim)\b.{0,40}(fail|not pass|required))",
        Category.AUTH_FAILURE,
        Action.RETRY,
        Scope.MESSAGE,
        "451 4.7.26 This mail is unauthenticated, which poses a security risk; please set up SPF or DKIM",
        again=_HOUR / 4,
    ),
    _rule(
        "tls-wanted",
        r"(?i)must issue a starttls|\b(starttls|tls|encryption)\b.{0,40}(required|needed|mandatory)|"
        r"\b5\.7\.(10|30)\b",
        Category.TLS_POLICY,
        Action.RETRY,
        Scope.SITE,
        "530 5.7.0 Must issue a STARTTLS command first",
        "550 5.7.10 Encryption required",
        again=_HOUR / 4,
    ),
    _rule(
        "virus",
        r"(?i)^5.*\b(virus|malware|infected|trojan|phish)",
        Category.VIRUS_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.7.1 The message contains a virus (Eicar-Test-Signature)",
    ),
    _rule(
        "spam",
        r"(?i)^5.*(\bspam|unsolicited|\bbulk (mail|email)|junk|mail content denied|suspicious)",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "554 5.7.1 Message rejected as spam",
        "550 Mail content denied",
        "550-5.7.1 Our system has detected that this message is likely unsolicited mail.",
    ),
    _rule(
        "spam-for-now",
        r"(?i)^4.*(\bspam|unsolicited|suspicious)",
        Category.SPAM_RELATED,
        Action.RETRY,
        Scope.MESSAGE,
        "421 4.7.0 Message is suspected of being unsolicited; try later",
    ),
    _rule(
        "too-large",
        r"(?i)^5.*(\b5\.(3\.4|2\.3)\b|(message|size)\b.{0,40}(too (large|big|long)|exceeds|over))",
        Category.CONTENT_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "552 5.3.4 Message size exceeds fixed maximum message size",
        "550 Message too large",
    ),
    _rule(
        "bad-content",
        r"(?i)^5.*(\b5\.6\.[0-9]|bare (lf|cr|line ?feed)|(missing|duplicate|multiple|invalid|malformed).{0,20}header|"
        r"attachment|rfc ?[0-9]{3,4})",
        Category.CONTENT_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "554 5.6.0 Message contains invalid header",
        "550 5.7.1 Messages with multiple addresses in From: header are not accepted; see RFC 5322",
    ),
)

_CLOSING: Final = _rule(
    "closing",
    r"^421",
    Category.BAD_CONNECTION,
    Action.RETRY,
    Scope.SITE,
    "421 4.3.0 Service not available, closing transmission channel",
)
_TEMPORARY: Final = _rule(
    "temporary",
    r"^4",
    Category.OTHER,
    Action.RETRY,
    Scope.MESSAGE,
    "451 4.3.0 Local error in processing",
)

_REFUSED_BEFORE_THE_MESSAGE: Final = (
    _rule(
        "accepts-no-mail",
        r"^521",  # RFC 7504 section 3
        Category.ROUTING_ERRORS,
        Action.BOUNCE,
        Scope.SITE,
        "521 mail.example.com does not accept mail",
        stage=Stage.CONNECT,
    ),
    _rule(
        "refused-at-greeting",
        r"^5",  # before a word about the message was said, it can only be about the source
        Category.POLICY_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "554 mail.example.com ESMTP not accepting messages",
        "550 5.7.1 HELO name not accepted",
        again=_HOUR / 4,
    ),
)

_BY_CLASS: Final = (
    _rule(
        "syntax",
        r"^50[0-4]|(?i)^5.*\b5\.5\.[0-9]",
        Category.PROTOCOL_ERRORS,
        Action.BOUNCE,
        Scope.MESSAGE,
        "501 5.5.4 Invalid arguments",
        "554 5.5.1 Error: no valid recipients",
    ),
    _rule(
        "refused-by-policy",
        r"^5[0-9][0-9][ -]5\.7\.[0-9]+",
        Category.POLICY_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.7.1 Delivery not authorized, message refused",
        "550 5.7.1 [CS01] Message rejected due to local policy.",
    ),
    _rule(
        "permanent",
        r"^5",
        Category.OTHER,
        Action.BOUNCE,
        Scope.MESSAGE,
        "554 Transaction failed",
    ),
)

GREETING_RULES: Final = (*_ABOUT_THE_SOURCE, *_RATES, *_REFUSED_BEFORE_THE_MESSAGE, _CLOSING, _TEMPORARY)
"""At Connect and Ehlo, where nothing was said about a message yet."""
MESSAGE_RULES: Final = (
    *_ABOUT_THE_SOURCE,
    *_RATES,
    *_ABOUT_THE_MAILBOX,
    *_ABOUT_THE_MESSAGE,
    _CLOSING,
    _TEMPORARY,
    *_BY_CLASS,
)
"""From MAIL on. In both the first that matches decides."""
