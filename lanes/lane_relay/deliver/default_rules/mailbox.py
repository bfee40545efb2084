"""Rows about one mailbox, or its domain: they touch that recipient alone."""

from typing import Final

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_relay.deliver.default_rules.row import HOUR, rule

__all__ = ["ABOUT_THE_MAILBOX", "PLAINLY_THE_MAILBOX"]

_UNKNOWN_LATER: Final = (  # narrower than at RCPT: behind DATA a reply may speak of addresses in the header
    r"(?i)^5.*(\b5\.1\.1\b|(mailbox|account|user|recipient)\b.{0,40}(unknown|not found|not exist|doesn'?t exist|"
    r"unavailable|not available|not known)|recipient address rejected|mailbox (is )?invalid|address unknown|"
    r"(unknown|no such|not a valid|invalid|non-?existent) (mailbox|account|user|recipient)|no such (address|person)|"
    r"doesn'?t have an? .{0,40}account)"
)

PLAINLY_THE_MAILBOX: Final = (  # code and words agree: whatever else such a reply mentions
    rule(
        "mailbox-unknown-said-twice",
        r"(?i)^5[0-9][0-9][ -]5\.1\.1 .*((unknown|no such|invalid|non-?existent) (mailbox|account|user|recipient|"
        r"address)|(mailbox|account|user|recipient|address)\b.{0,60}(unknown|not found|not exist|doesn'?t exist))",
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550-5.1.1 The email account that you tried to reach does not exist.",
        "550 5.1.1 Unknown user; connection to server was refused",
        "554 5.1.1 delivery error: no such user",
    ),
    rule(
        "mailbox-full-said-twice",
        r"(?i)^5[0-9][0-9][ -]5\.2\.2 .*(mailbox|inbox|account|user|recipient|storage|quota|full|space)",
        Category.QUOTA_ISSUES,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "552-5.2.2 The recipient's inbox is out of storage space",
        "552 5.2.2 Mail quota exceeded",
        "552 5.2.2 user exceeded corporate mailbox quota",
    ),
    rule(
        "mailbox-full-for-now-said-twice",
        r"(?i)^4[0-9][0-9][ -]4\.2\.2 .*(mailbox|inbox|account|user|recipient|storage|quota|full|space)",
        Category.QUOTA_ISSUES,
        Action.RETRY,
        Scope.RECIPIENT,
        "452-4.2.2 The recipient's inbox is out of storage space",
        "452 4.2.2 User has too many messages on the server",
        again=HOUR,
    ),
    rule(
        "sender-verified-in-vain",  # Exim's call-back; the text that cPanel gives it guesses at block lists
        r"(?i)^5.*(sender verify failed|verification failed for <>|unroute?able sender)",
        Category.INVALID_SENDER,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 Verification failed for <> The account or domain may not exist, they may be blacklisted, or missing the "
        "proper dns entries. Sender verify failed",
        "550 Unroutable sender address",
    ),
)

ABOUT_THE_MAILBOX: Final = (
    rule(
        "for-policy-reasons",  # these words alone; a cause beside them is the cause
        r"(?i)^5.*(mail from \S+ rejected for policy reasons|address rejected: (ers-|block-))",
        Category.POLICY_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 Mail from a@example.net rejected for policy reasons.",
        "554 5.7.1 <a@example.com>: Recipient address rejected: BLOCK-RCPT.",
    ),
    rule(
        "mail-loop",
        r"(?i)^5.*(\b5\.4\.6\b|\bloop(s|ing)?\b|too many hops|hop count exceeded)",
        Category.ROUTING_ERRORS,
        Action.BOUNCE,
        Scope.MESSAGE,
        "554 5.4.6 Too many hops",
        "552 looping message.",
    ),
    rule(
        "mail-loop-for-now",
        r"(?i)^4.*\bloop(s|ing)?\b",
        Category.ROUTING_ERRORS,
        Action.RETRY,
        Scope.MESSAGE,
        "450 4.4.6 Routing loop detected (G16)",
    ),
    rule(
        "no-way-there",
        r"(?i)^5.*(unrout(e)?able|does not accept mail|takes no mail|\b5\.4\.4\b|unable to route|no route to host)",
        Category.ROUTING_ERRORS,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 unrouteable address",
    ),
    rule(
        "relaying-denied",
        r"(?i)^5.*(relay(ing)?\b.{0,30}(denied|disallowed|not permitted|not allowed|prohibited|access)|unable "
        r"to relay|"
        r"not (permitted|configured) to relay|do not relay|denies relay|as a relay|insecure mail relay|"
        r"unauthorized relay|allowed rcpthosts|allowed to be relayed|"
        r"domain not in \w+ system|not a gateway|credentials for relay|relay(ing)? (is )?disabled)",
        Category.RELAYING_ISSUES,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 5.7.1 <a@example.com>: Relay access denied",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "553 Relaying disallowed",
        "553 sorry, that domain isn't allowed to be relayed thru this MTA (#5.7.1)",
        "500 Domain not in ovh system",
    ),
    rule(
        "relaying-denied-for-now",
        r"(?i)^4.*(relay(ing)?\b.{0,30}(denied|disallowed|not permitted|not allowed)|unable to relay)",
        Category.RELAYING_ISSUES,
        Action.RETRY,
        Scope.RECIPIENT,
        "451 Open relay not allowed",
        "450 4.7.1 Unable to Relay",
    ),
    rule(
        "address-being-verified",
        r"(?i)^4.*(unverified address|verification in progress)",
        Category.OTHER,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.1.1 <a@example.com>: Recipient address rejected: unverified address: Address verification in progress",
        again=300.0,
    ),
    rule(
        "not-for-this-sender",  # a list, a group or one recipient chooses from whom it takes mail
        r"(?i)^5.*(members?[- ]only|non-?member|closed (mailing )?list|not subscribed|not allowed to post|"
        r"only accept(s|ing) mail from|organizational settings|user rules|user reject|"
        r"refuses? to (receive|accept)|recipient preferences|mass mailer|not accept(ing)? mail from (th(is|ese|at) "
        r"(address|sender)|you\b)|not authorized to send to|violating our .{0,20}polic)",
        Category.POLICY_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 Message from non-member to a members-only list",
        "550 5.7.1 Sender not authorized to send to this recipient",
        "550 a@example.com IS NOT ACCEPTING MAIL FROM THIS SENDER",
    ),
    rule(
        "sender-not-permitted",
        r"(?i)^5.*(not (allowed|permitted) to send|doesn'?t allow sending|invalid ip for sending|mail from "
        r".{0,40}mismatch|\b(spf|dkim|dmarc)([^-\w]|$)|spf-check|sender policy)",
        Category.AUTH_FAILURE,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550-5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.",
        "550 5.1.0 192.0.2.222 is not allowed to send from <example.net> per its SPF Record.",
        "554 INVALID IP FOR SENDING MAIL OF DOMAIN example.com",
    ),
    rule(
        "sender-refused",
        r"(?i)^5.*(\b5\.1\.[78]\b|\b5\.7\.27\b|(sender\b|mail from\b|from:|email address "
        r"is\b).{0,60}(rejected|denied|"
        r"invalid|not exist|"
        r"not verified|"
        r"not found|unknown|verif|unvalidated)|denies the sender|mail ?from failed|sender (e-?mail )?is not in|"
        r"responsible address|domain of sender)",
        Category.INVALID_SENDER,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.1.8 Sender address rejected: Domain not found",
        "554 sender is unvalidated.",
    ),
    rule(
        "sender-refused-for-now",
        r"(?i)^4.*(\b4\.1\.8\b|sender address rejected|domain of sender)",
        Category.INVALID_SENDER,
        Action.RETRY,
        Scope.MESSAGE,
        "450 4.1.8 Sender address rejected: Domain not found",
    ),
    rule(
        "sender-unknown-at-mail",  # where no recipient was named yet, what is not there is the sender
        r"(?i)^5.*((domain|host|sender|user|address|mailbox)\b.{0,40}(not found|not exist|doesn'?t exist|"
        r"unknown|invalid|"
        r"must exist)|(no such|unknown) (user|sender)|\bno\b.{0,20}\bmx\b|unable to verify|"
        r"verify failed)",
        Category.INVALID_SENDER,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 Domain does not exist",
        "550 Sender has no A, AAAA, or MX DNS records.",
        "553 unable to verify address",
        stage=Stage.MAIL,
    ),
    rule(
        "sender-unknown-at-mail-for-now",
        r"(?i)^4.*(domain|host|sender)\b.{0,40}(not found|not exist|doesn'?t exist|unknown|not resolve|no mx)",
        Category.INVALID_SENDER,
        Action.RETRY,
        Scope.MESSAGE,
        "451 domain not found",
        stage=Stage.MAIL,
    ),
    rule(
        "sender-refused-in-other-words",
        r"(?i)^5.*(invalid sender|\bbatv\b|(null|empty) (envelope )?senders?|bogus mail from|emetteur "
        r"invalide|backscatter|"
        r"sender (domain )?(is not|isn'?t|not|is empty)|third-party dsn|returned mail not accepted)",
        Category.INVALID_SENDER,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 invalid sender",
        "550 BATV validation failure",
    ),
    rule(
        "mailbox-full",
        r"(?i)^5.*(\b5\.2\.2\b|(mailbox|inbox|account|user|recipient|storage).{0,40}(full|over ?quota|quota|exceed|"
        r"exhausted)|"
        r"over ?quota|quota exceeded|exceed(s|ed) (quota|storage|allowed)|not have enough space|can'?t create output|"
        r"(too many messages|zuviele mails) (on|auf)|speichervolumen|out of storage)",
        Category.QUOTA_ISSUES,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 Mailbox is full",
    ),
    rule(
        "mailbox-full-in-other-words",
        r"(?i)^5.*((over|exceed\w*|not (enough|sufficient)|insufficient|out of|no) (the )?((allowed|disk|"
        r"storage) )*(space|"
        r"storage|quota)|disk ?(space )?quota|full mailbox|(mail ?folder|boite|casella|postfach)\b.{0,20}(full|plein|"
        r"piena|voll)|quota violation|space has (been )?used|space not enough|"
        r"enough disk ?space|maximum allowed mailbox size)",
        Category.QUOTA_ISSUES,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 not sufficient disk space",
        "550 boite du destinataire pleine",
    ),
    rule(
        "mailbox-full-for-now",
        r"(?i)^4.*(\b4\.2\.2\b|(mailbox|inbox|account|user|recipient|storage).{0,40}(full|over ?quota|quota|exceed|"
        r"exhausted)|"
        r"over ?quota|quota (limit )?exceeded|exceed(s|ed) (quota|storage|allowed)|(too many messages|zuviele "
        r"mails) (on|auf)|"
        r"trouble in home directory)",
        Category.QUOTA_ISSUES,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 Mailbox is full",
        again=HOUR,
    ),
    rule(
        "mailbox-inactive",
        r"(?i)^5.*((mailbox|account|user|recipient|address).{0,40}(disabled|inactive|suspended|deactivated|closed|"
        r"expired|"
        r"frozen|discontinued|terminated|not activated|"
        r"no longer (valid|in use|active|available|exists))|is now disabled|"
        r"(disabled|inactive|suspended|deactivated) (recipient|email|mailbox|account|address|user)|"
        r"is no longer valid|: inactive|"
        r"(mailbox|account|user)( \S+)?( status)?( is| has been| temporar(il)?y)? ?(blocked|locked|restricted)|"
        r"compte .{0,20}bloqu|recipient address rejected: blocked)",
        Category.INACTIVE_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 The email account that you tried to reach is inactive.",
        "554 5.7.1 delivery error: dd This user doesn't have an account; mailbox disabled",
        "550 Mailbox a@example.com is unavailable: user is terminated",
    ),
    rule(
        "mailbox-inactive-in-other-words",
        r"(?i)^5.*((is|been|currently|temporar(il)?y) (suspended|locked|deactivated)|no longer accepts? mail|"
        r"recipient "
        r"suspend|(user|mailbox|account|address) (is )?not (an )?active|archived recipient|destinataire archivee|"
        r"not accepting any mail|(extended|due to) inactivity|hasn't entered during)",
        Category.INACTIVE_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 this address no longer accepts mail",
        "550 a@example.com IS NOT ACCEPTING ANY MAIL",
    ),
    rule(
        "recipient-and-domain-changed",  # RFC 7293 section 14: since when the sender last had word of them
        r"^5[0-9][0-9][ -]5\.7\.18\b",
        Category.BAD_DOMAIN,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.7.18 Domain owner has changed",
    ),
    rule(
        "recipient-s-domain-unknown",
        r"(?i)^5.*(recipient address rejected: ?(no-domain|unknown domain|domain (not found|does))|"
        r"\bno mx\b.{0,20}\bfor)",
        Category.BAD_DOMAIN,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.1.2 <a@example.com>: Recipient address rejected: Domain not found",
        "550 no MX record for domain example.com",
        stage=Stage.RCPT,
    ),
    rule(
        "mailbox-unknown",
        r"(?i)^5.*(\b5\.1\.[1346]\b|\b5\.7\.17\b|(mailbox|account|user|recipient|address(ee)?|customer|"
        r"person)\b.{0,60}"
        r"(unknown|not found|not exist|doesn'?t exist|invalid|not (a )?(valid|known|listed|our)|(un|not )available|"
        r"rejected|undeliverable)|"
        r"(unknown|no such|invalid|non-?existent) (mailbox|account|user|recipient|address|local|person)|"
        r"user not local|not a valid (recipient|mailbox|user)|no mailbox|not our (user|customer)|address rejected|"
        r"destinataire invalide|user lookup)",
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 Requested action not taken: mailbox unavailable",
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        "554 delivery error: dd Sorry, this user's mailbox is unavailable",
        "550 No such user here",
        stage=Stage.RCPT,
    ),
    rule(
        "mailbox-not-there",
        r"(?i)^5.*((doesn'?t|does not) have an? .{0,40}account|sorry, no valid recipient|recipients are invalid|"
        r"cannot be verified|not a member of|rcpt user .{0,20}not ok|bad address|unknown or illegal user|"
        r"user no found|in name directory|recip(ient)? ?notfound|unknown address error|unable to deliver to\b)",
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 delivery error: dd This user doesn't have an example.com account",
        "550 User not a member of domain: <a@example.com>",
    ),
    rule(
        "mailbox-unknown-for-now",
        r"(?i)^4.*((user|recipient|mailbox|account)\b.{0,40}(unknown|no(t| longer)? exist)|invalid recipient)",
        Category.BAD_MAILBOX,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.1.1 <a@example.org>: Recipient address rejected: User unknown in virtual alias table",
    ),
    rule(
        "mailbox-inactive-for-now",
        r"(?i)^4.*\b(mailbox|account|user|recipient)\b.{0,30}(disabled|inactive|suspended|deactivated|frozen)",
        Category.INACTIVE_MAILBOX,
        Action.RETRY,
        Scope.RECIPIENT,
        "452 4.2.1 mailbox temporarily disabled: a@example.com",
        again=HOUR,
    ),
    rule(
        "mailbox-unknown-after-data",
        _UNKNOWN_LATER,
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 delivery error: no such user",
        "550 5.4.1 Recipient address rejected: Access denied",
        stage=Stage.END_OF_DATA,
    ),
    rule(
        "mailbox-unknown-at-data",
        _UNKNOWN_LATER,
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 User unknown",
        stage=Stage.DATA,
    ),
    rule(
        "mailbox-off",
        r"^5[0-9][0-9][ -]5\.2\.1\b",
        Category.INACTIVE_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.2.1 Not here",
    ),
    rule(
        "domain-unknown",
        r"(?i)^5.*(\b5\.1\.(2|10)\b|(domain|host)\b.{0,40}(not found|not exist|unknown|not (local|accepted|hosted)))|"
        r"^553 [a-z0-9.-]+[.][a-z]+ does not exist",
        Category.BAD_DOMAIN,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.1.2 Bad destination host",
        "556 5.1.10 Recipient address has null MX",
        stage=Stage.RCPT,
    ),
    rule(
        "domain-unknown-in-other-words",
        r"(?i)^5.*(no such domain|illegal host/domain|domain not used for mail|unknown (domain|host)|"
        r"(domain|host) (is )?(not reachable|unreachable|must "
        r"exist)|name or "
        r"service not known)",
        Category.BAD_DOMAIN,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 no such domain",
    ),
    rule(
        "relaying-denied-in-other-words",
        r"(?i)^5.*(no relaying|cannot relay|not an open relay|allowed rcpthost|(don'?t|"
        r"do not) handle mail for|to relay through)",
        Category.RELAYING_ISSUES,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 not an open relay, so get lost",
    ),
    rule(
        "mailbox-unknown-in-other-words",  # last: what does not exist and is neither a sender nor a domain
        r"(?i)^5.*(no (account|one|mail ?box|user)\b.{0,20}(by that name|here|at this|available)|no one at this|"
        r"not a (local address|known user)|not present|bad(rcpt|recipient)to|validrcptto|recipient (is )?not "
        r"(accepted|"
        r"local|ok|found)|address could not be found|(does not|doesn'?t) exist|no existe|inconnu|nessun "
        r"utente|nicht bekannt|"
        r"virtual user|\bnot found\b|bad destination)",
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 there is no one at this address",
        "550 sorry, no account by that name here",
    ),
    rule(
        "mailbox-unknown-in-rarer-words",  # as the checkers of addresses met them: reacherhq/check-if-email-exists
        r"(?i)^5.*(dosn't exist|address is not handled|not a recognised|does not like recipient|in domino directory|"
        r"name is not recognized|unable to (validate|find) (recipient|alias)|not in route list|"
        r"in my list of allowed recipients|non esiste|address does not receive mail)",
        Category.BAD_MAILBOX,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 RCPT (a@example.com) dosn't exist",
        "550 E-mail address is not handled by this system",
    ),
)
