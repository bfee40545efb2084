"""Rows about the source: its address, pace and names; of them a listed link or sender alone bounces a message."""

from typing import Final

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_relay.deliver.default_rules.row import HOUR, THRICE, rule

__all__ = ["ABOUT_THE_SOURCE", "RATES"]

ABOUT_THE_SOURCE: Final = (
    rule(
        "sender-s-domain-listed",  # Postfix's reject_rhsbl_sender, and who says so in words
        r"(?i)^5.*(sender address .{0,80}blocked using|(sender|sending|from|envelope|"
        r"return-?path)('?s)? domain\b.{0,60}"
        r"(listed|(black|block)-?\s?list|\bdbl\b|surbl|uribl))",
        Category.SPAM_RELATED,
        Action.SUSPEND_DOMAIN,
        Scope.DOMAIN,
        "554 5.7.1 Service unavailable; Sender address [a@example.com] blocked using dbl.spamhaus.org",
        "550 5.7.1 Sender domain example.com is listed in the Spamhaus DBL",
        hold=2 * HOUR,
        again=2 * HOUR,
    ),
    rule(
        "url-within",  # says that the message has it, so at any stage it is not about the source
        r"(?i)^5.*\b(contain(s|ing)?|includes?|has) .{0,20}\b(url|uri|link)s?\b",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "554 5.7.1 Your message contains a link that is blacklisted",
    ),
    rule(
        "url-listed",
        r"(?i)^5.*(dbl\.spamhaus|\b(url|uri|link)s?\b.{0,60}\b(black|block|deny)?-?list|surbl|uribl)",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.7.1 Blocked, a URL is listed in dbl.spamhaus.org",
        stage=Stage.END_OF_DATA,
    ),
    rule(
        "url-listed-for-now",
        r"(?i)^4.*(dbl\.spamhaus|\b(url|uri|link)s?\b.{0,60}\b(black|block|deny)?-?list|surbl|uribl)",
        Category.SPAM_RELATED,
        Action.RETRY,
        Scope.MESSAGE,
        "451 4.7.1 Message contains a URL listed in dbl.spamhaus.org",
        stage=Stage.END_OF_DATA,
        again=HOUR,
    ),
    rule(
        "on-a-list-of-theirs",  # one recipient's or one company's own list says nothing of others
        r"(?i)^5.*((recipient|user|customer|personal|tenant)('?s)? (own )?(black|block|deny)-?\s?list|"
        r"blocked senders\b|blocked by the (recipient|user)\b)",
        Category.POLICY_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.7.513 Service unavailable, Client host [203.0.113.10] blocked by example.com using Customer Block list",
        "554 You have been blocked by the recipient",
    ),
    rule(
        "unusual-rate",
        r"(?i)unusual (rate|amount|volume)|[45]\.7\.28\b",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.IP,
        "421 4.7.0 Our system has detected an unusual rate of unsolicited mail originating from your IP address. "
        "To protect "
        "our users from spam, mail sent from your IP address has been temporarily blocked.",
    ),
    rule(
        "dynamic-address",  # what kind of address it is, and not what came from it
        r"(?i)^[45].*(dynamic|residential|dial-?up|transient)[ /-]*(\w+ )?(ip\b|ips\b|ip'?s|address|range)",
        Category.POLICY_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "554 5.7.1 Mail from dynamic IP addresses is not accepted",
        "550 We do not accept mail from hosts with dynamic IP or generic DNS PTR-records",
        "554 IP=203.0.113.10 - Dialup/transient IP/hostname not allowed. (DIAL)",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "outlook-block-list",
        r"^550[ -]5\.7\.1 .*\(?S(3140|3150|775)\)?",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550 5.7.1 Unfortunately, messages from [203.0.113.10] weren't sent. Please contact your Internet service "
        "provider since part of their network is on our block list (S3150).",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "outlook-banned-address",
        r"^550[ -]5\.7\.(6[0-4][0-9]|511)\b",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550 5.7.606 Access denied, banned sending IP [203.0.113.10]",
        "550 5.7.511 Access denied, banned sender[203.0.113.10]",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "t-online-block",
        r"^5[0-9][0-9][ -]IP=\S+ - ",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "554 IP=203.0.113.10 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to "
        "clarify.) (BL)",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "qq-source",
        r"(?i)^550[ -]suspected spam ip",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550 Suspected spam ip",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "frequency-limited",
        r"(?i)\b(ip|connection|domain|sender) frequency (is )?limited",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.IP,
        "550 Ip frequency limited [c4xjZGUq0N1bGkq0]",
        "550 Connection frequency limited",
        hold=HOUR,
        again=HOUR / 2,
    ),
    rule(
        "yahoo-complaints",
        r"\[(IPTS|TSS|TS)0[0-9]\]",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.IP,
        "421 4.7.0 [TSS04] Messages from 203.0.113.10 temporarily deferred due to unexpected volume or user complaints",
        "553 5.7.1 [TS03] All messages from 203.0.113.10 will be permanently deferred",
        hold=2 * HOUR,
        again=HOUR,
    ),
    rule(
        "sender-listed",  # the sender's address or domain is, and our own address is not spoken of
        r"(?i)^5.*\b(sender|mail ?from|from address|e-?mail address)\b( address)?( is| has been)?( (on|"
        r"in) (my|our|a|the|domain's))? ?"
        r"(black|block|deny)-?\s?list",
        Category.SPAM_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 Your email address has been blacklisted",
        "554 Access denied (sender blacklisted)",
    ),
    rule(
        "block-listed",
        r"(?i)blocked using|(block|black|deny)-?\s?list|(is|are|due to) (listed|listing) (at|by|in|on)|"
        r"(zen|sbl|xbl|pbl|css)\.spamhaus|in spamhaus|spamhaus\.org/(query|sbl|pbl|xbl|css)|spamcop\.net|"
        r"barracuda (reputation|central)|barracudacentral|\bdnsbl|\brbl\b|\[BL2[0-9]\]|\bBL[0-9]{6}\b|(csi|"
        r"cloudmark).*(csi|cloudmark)|threat (network )?list|sender ?score\.org|"
        r"^5.*ipcheck\.proofpoint|proofpoint\.com/dnsbl|blocklist-lookup",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "554 5.7.1 Service unavailable; Client host [203.0.113.10] blocked using zen.spamhaus.org",
        "550 5.7.1 Mail from 203.0.113.10 refused, see RBL server b.barracudacentral.org",
        "553 5.7.1 [BL21] Connections will not be accepted from 203.0.113.10, because the ip is in Spamhaus's list",
        "554-No SMTP service IP address is block listed.",
        "554 resimta-po-12v.sys.comcast.net comcast 203.0.113.10 Comcast block for spam. BL000010",
        "550 5.7.1 Blocked - see https://ipcheck.proofpoint.com/?ip=203.0.113.10",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "no-reverse-name",
        r"(?i)[45]\.7\.25\b|(bad|invalid) dns ptr|name lookup failed|ptr resource record|mismatches client ip|"
        r"helo.{0,30}(invalid|not resolve)|(bad|invalid) (helo|ehlo)|"
        r"helo command rejected: (host not found|need fully)|^501.*invalid domain name|no (ptr|rdns)\b|"
        r"\b(missing|no|cannot find your|cannot resolve your|does not have a?|"
        r"invalid) "
        r"(reverse|ptr|hostname)|reverse[ -]dns|reverse lookup|forward dns entry|without a valid sender "
        r"domain|\brdns\b|ptr record",
        Category.BAD_CONFIGURATION,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550-5.7.25 The IP address sending this message does not have a PTR record setup",
        "450 4.7.1 Client host rejected: cannot find your reverse hostname, [203.0.113.10]",
        "554-No SMTP service Bad DNS PTR resource record.",
        "450 4.7.1 <mail.example.net>: Helo command rejected: Host not found",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "helo-refused",
        r"(?i)^[45].*(helo command rejected|\b(helo|ehlo) (host|string|name)\b.{0,30}(mismatch|"
        r"not accepted|invalid|rejected)|"
        r"unresolvable relay host|cannot resolve your address)",
        Category.BAD_CONFIGURATION,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550 5.7.1 HELO name not accepted",
        "550 5.7.1 <mail.example.net>: Helo command rejected: Access denied",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "blocked-and-told-where-to-look",  # pages of many filters are asked by address
        r"(?i)blocked by \S+ \S+ ?list|access denied, banned|blocked for (abuse|spam)|"
        r"^5[0-9][0-9][ -]([^5]|5[^.]|5\.[^1]).*[?&]ip=[0-9a-f]",  # 5.1 is about a recipient
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550 Error - Blocked for abuse. See http://example.net/abuse",
        "554 Please visit http://antispam.example.com/denyip.php?IP=203.0.113.10 (#5.7.1)",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "domain-reputation-for-now",
        r"(?i)^4.*reputation of the (sending|sender) domain",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.DOMAIN,
        "421 4.7.0 Our system has detected that this message is suspicious due to the very low reputation of the "
        "sending "
        "domain.",
        hold=HOUR,
        again=HOUR,
    ),
    rule(
        "domain-reputation",
        r"(?i)^5.*reputation of the (sending|sender) domain|suspected spam sender",
        Category.SPAM_RELATED,
        Action.SUSPEND_DOMAIN,
        Scope.DOMAIN,
        "551 5.7.1 Due to the very low reputation of the sending domain, this message has been blocked (Code 2).",
        "550 Suspected spam sender.",
        hold=2 * HOUR,
        again=2 * HOUR,
    ),
    rule(
        "reputation-for-now",
        r"(?i)^4.*((poor|bad|low|negative|no|insufficient) (ip |sender |sending |email )?reputation|"
        r"reputation of the "
        r"sending|reputation (service|list|is )|"
        r"(due to|because of|based on) ((your|its|the) )?((ip|domain|sender) )?reputation|"
        r"too (much|many) spams? from your|ipcheck\.proofpoint|user "
        r"complaints|email reputation database)",
        Category.SPAM_RELATED,
        Action.BACKOFF,
        Scope.IP,
        "451 4.7.650 The mail server [203.0.113.10] has been temporarily rate limited due to IP reputation.",
        "421 Deferred - see https://ipcheck.proofpoint.com/?ip=203.0.113.10",
        hold=HOUR,
        again=HOUR / 2,
    ),
    rule(
        "source-reputation",
        r"(?i)^5.*((poor|bad|low|negative|no|insufficient) (ip |sender |sending |email )?reputation|"
        r"reputation of the "
        r"sending|reputation (service|list|is )|\bip reputation\b|"
        r"(due to|because of|based on) ((your|its|the) )?((ip|domain|sender) )?reputation|too many spams from "
        r"your ip|\bsbrs\b)",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550-5.7.1 Our system has detected that this message is likely suspicious due to the very low reputation of "
        "the sending IP address.",
        hold=2 * HOUR,
        trigger=THRICE,
        again=HOUR,
    ),
    rule(
        "client-misbehaves",  # blocked for how it delivers; spam is not named
        r"(?i)^5.*(\bconnection denied|namespace mining|directory harvest|excessive (rejected|invalid|unknown) "
        r"(recipients|users|addresses)|too many (bad commands|errors|invalid recipients) from)",
        Category.POLICY_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "554 Your IP is sending excessive rejected recipients. Please contact support.",
        "550 Connection denied",
        hold=HOUR,
        trigger=THRICE,
        again=HOUR / 2,
    ),
    rule(
        "client-blocked",
        r"(?i)\b(ip|host|server|connection)\b.{0,60}(is|are|has been|was) (temporarily )?(blocked|banned|filtered|"
        r"black)|"
        r"\b(your|sending|client|source) (ip|host|server|mta)( address)? .{0,40}(block|ban|abus|flood|excessive)|"
        r"client host( \S+)? blocked|black ip|\bip banned|rbl deny|sender rejected.*(blacklist|rbl)",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "550 5.7.1 Your IP address 203.0.113.10 has been blocked by local policy",
        "421 Your IP is temporarily blocked, please try again later",
        hold=HOUR,
        trigger=THRICE,
        again=HOUR / 2,
    ),
    rule(
        "source-refused-in-other-words",
        r"(?i)^5.*(banned sending ip|bad (sender )?ip\b|(rejecting|is an?) open (proxy|relay)|accepting mail "
        r"from your|"
        r"forbidden by your ip|no access from mail server|unwanted messages|listed as abusive|sending mta|"
        r"submit messages "
        r"to this e-?mail system|connections will not be accepted|reputation problem|user complaints|(blocked|"
        r"refused) - "
        r"see http|from (ip|host)( address)? \S+ .{0,20}blocked)",
        Category.SPAM_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "554 Your access to submit messages to this e-mail system has been rejected",
        "550 not currently accepting mail from your ip",
        hold=HOUR,
        trigger=THRICE,
        again=HOUR / 2,
    ),
    rule(
        "client-rejected",
        r"(?i)client host( \S+)? (rejected|denied)|client host rejected|not allowed to connect|"
        r"\b(ip|host|server|connection)\b.{0,60}(is|are|has been|was) (denied|refused|rejected)|"
        r"\b(your|sending|client|source) (ip|host|server|mta)( address)? .{0,40}(reject|denied|not allowed)|"
        r"sender'?s? ip( address)? (is |was )?(reject|denied)|host network not allowed|"
        r"client host bypassing|currently not permitted|smtp server of your isp|"
        r"not authorized to send (e-?)?mail directly",
        Category.POLICY_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "554 5.7.1 <unknown[203.0.113.10]>: Client host rejected: Access denied",
        "554 5.7.1 Connection from 203.0.113.10 was refused by policy",
        "554 5.7.1 You are not allowed to connect",
        "550 Sender IP address rejected",
        "550 5.7.0 Please use the smtp server of your ISP.",
        "550-5.7.1 The IP you're using to send mail is not authorized to send email directly to our servers.",
        hold=HOUR,
        trigger=THRICE,
        again=HOUR / 2,
    ),
    rule(
        "client-rejected-in-other-words",
        r"(?i)^5.*(\bip reject|mail from your location|connection rejected)",
        Category.POLICY_RELATED,
        Action.SUSPEND_SITE,
        Scope.IP,
        "553 sorry, mail from your location [203.0.113.10] is administratively denied (#5.7.1)",
        "553 Connection rejected by policy [7.3] 38206",
        hold=HOUR,
        trigger=THRICE,
        again=HOUR / 2,
    ),
)

RATES: Final = (
    rule(
        "mailbox-receives-too-fast",
        r"(?i)^[45].*(receiv(ing|ed) (mail|email|messages)? ?(too quickly|at a rate)|(recipient|mailbox|user) .{0,20}"
        r"(exceeded .{0,20}(message|rate) (rate|limit)|received too (much|many))|messages to .{1,60} deferred due "
        r"to excessive|"
        r"too many recent messages|rate-?limit exceeded for mailbox|\b5\.2\.12[0-9]\b|"
        r"limit for the number of messages|queue quota exceeded)",
        Category.RATE_LIMITED,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend later.",
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional "
        "messages from "
        "being delivered.",
        "450 4.2.1 Mailbox received too much email in a short period of time (G30)",
        "554 5.2.122 The recipient has exceeded their limit for the number of messages they can receive per hour.",
        again=HOUR / 2,
    ),
    rule(
        "sending-limit-reached",
        r"(?i)((connection|message|sending|hourly|daily|rate|relay|submission|login)s? (limit|quota|rate)s?|"
        r"e?mail (limit|"
        r"rate)) (has been |was )?(exceeded|reached)|maximum connection limit|max e?mails per|trop de "
        r"connexions|(submission|message|sending) rate .{0,40}exceed|"
        r"exceed(ed|s|ing)? .{0,40}\b(connections?|rate|messages per|sessions|permitted limits)\b|reached your daily "
        r"limit|(relay|daily) quota",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.IP,
        "550 5.4.5 Daily sending quota exceeded",
        "421 Rate limit reached. Please try again later",
        "450 4.2.1 Peak SMTP relay limit exceeded for this customer.",
        "421 4.4.2 Message submission rate for this client has exceeded the configured limit",
    ),
    rule(
        "enough-for-this-connection",  # no fault of ours: the next one takes more
        r"(?i)^4.*(no more messages (on|in|per)|max(imum)? messages? per (session|connection)|"
        r"too many messages (for|in|on|"
        r"per) (this |a )?(session|connection))",
        Category.RATE_LIMITED,
        Action.RETRY,
        Scope.SITE,
        "421 4.5.1 No more messages on this connection",
        "452 4.1.0 Max messages per session",
        again=60.0,
    ),
    rule(
        "sent-too-much",  # HL, MI and RP with three letters are NetEase's: mail.163.com/help/help_spam_16.htm
        r"(?i)\bsen(t|ding) too (many|much)|\btoo much mail\b|too frequent connect|too many connect\b|"
        r"recipients received this hour|\b(HL:(ICC|IFC|ITC|REP|MEP)|MI:(CEL|CCL|DMC|STC|SFQ)|RP:(DRC|CCL|"
        r"CEL|TRC|RCL))\b",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.IP,
        "550 5.1.0 <203.0.113.10> This IP has sent too many messages this hour. IB504 <http://x.co/rlbounce>",
        "452 4.1.1 <a@example.com> Too much mail",
        "450 too frequent connects from 203.0.113.10",
        "421 HL:ICC",
        again=HOUR / 2,
    ),
    rule(
        "too-many-recipients",
        r"(?i)^(4|552).*(too many recipients|rcpt numbers)",  # 552 is 452 here: RFC 5321 section 4.5.3.1.10
        Category.POLICY_RELATED,
        Action.RETRY,
        Scope.RECIPIENT,
        "452 4.5.3 Too many recipients",
        "552 Too many recipients",
        again=60.0,
    ),
    rule(
        "too-many-recipients-for-good",
        r"(?i)^5.*(\b5\.5\.3\b.*recipients|too many recipients)",
        Category.POLICY_RELATED,
        Action.BOUNCE,
        Scope.MESSAGE,
        "550 5.5.3 Too many recipients specified",
    ),
    rule(
        "too-fast",
        r"(?i)\brate[- ]?(is )?limit|throttl|too many login|too (fast|quickly|frequent)|"
        r"too (many|much) ((concurrent|simultaneous|open|invalid|unknown|bad) )?(smtp )?(connections|sessions|errors|"
        r"unknown|users|recipients|(messages|e?mails?|traffic) (from|sent|in|per))|"
        r"excessive (volume|rate|message)|slow down|"
        r"\bRL[0-9]{6}\b|RP-00[123]",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.IP,
        "421 4.7.0 Too many concurrent SMTP connections from this IP address",
        "421 4.2.1 RL000010 Throttled",
    ),
    rule(
        "server-busy",
        r"(?i)^4.*((server|system|service|agent)(\(\w\))? (is )?(too |currently )?busy|\b4\.4\.5\b.*congest|"
        r"4\.7\.500|"
        r"service temporarily unavailable.*load|high load|overload|load (is )?too high|"
        r"unable to process connection|\bbusy\b.{0,3}please try|ports are busy)",
        Category.RATE_LIMITED,
        Action.BACKOFF,
        Scope.SITE,
        "451 4.7.500 Server busy. Please try again later from [203.0.113.10]. (AS77712345)",
        "421 Unable to process connection at this time",
        "450 busy - please try later",
        "421 4.3.2 All screening ports are busy",
        hold=HOUR / 4,
    ),
    rule(
        "greylisted",
        r"(?i)^4.*(gr[ea]y-?\s?list|postgrey|try another server|first (attempt|contact|time).{0,60}(again|"
        r"later|back))|^5.*\bgr[ea]y-?\s?list(ed|ing)\b",
        Category.GREYLISTED,
        Action.RETRY,
        Scope.RECIPIENT,
        "450 4.7.1 Greylisted, please try again later",
        "450 4.2.0 <a@example.com>: Recipient address rejected: Greylisted, see http://postgrey.example/",
        "451 4.7.1 Graylisting in action, please come back later",
        "554 5.7.1 Greylisted, please try again in 5 minutes",
        again=300.0,  # most implementations wait 5 minutes (RFC 6647 section 2.1 speaks of minutes)
    ),
)
