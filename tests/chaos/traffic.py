"""Mixed mail into the slots: SMTP with one or several recipients, HTTP with keys that are repeated, for ever.

Invariant: an offer is `accepted` only if the client read 250 or 200 to it, `in-doubt` if the connection broke after the
end of data. Each address is used once: local parts say what becomes of it (`gone`, `defer`, `held`, `complain`).
Before: a campaign. After: `judge`, which gets the offers.
"""

import itertools
import random
import smtplib
import threading
import time
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from http.client import HTTPException
from typing import Final, Self

from tests.chaos.judge import LANE_DOMAIN, Offer
from tests.chaos.slots import Slot
from tests.lane_relay.accept.http.client import post

_PATIENCE_S: Final = 20.0
DOMAINS: Final = ("one.test", "two.test", "three.test", "four.test")
HELD: Final = "held.test"
LOOP: Final = "loop.test"


class Traffic:
    """Clients in threads; use as a context, `offers` is whole after it."""

    def __init__(self, slots: Sequence[Slot], *, smtp: int, http: int, pause_s: float, seed: int) -> None:
        """So many clients of either kind; `pause_s` between two messages of one client, on average."""
        self._slots = slots
        self._pause_s = pause_s
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.offers: list[Offer] = []
        self.repeated = 0
        """Requests that were sent again under their key after they had been answered."""
        works = [self._smtp] * smtp + [self._http] * http
        self._threads = [
            threading.Thread(target=work, args=(random.Random(seed * 1000 + at),)) for at, work in enumerate(works)
        ]

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for one in self._threads:
            one.join(120)

    def _note(self, offers: Sequence[Offer]) -> None:
        with self._lock:
            self.offers += offers

    def _rest(self, chance: random.Random) -> None:
        self._over.wait(chance.uniform(0, 2 * self._pause_s))

    # SMTP

    def _smtp(self, chance: random.Random) -> None:
        while not self._over.is_set():
            slot = chance.choice(self._slots)
            try:
                with smtplib.SMTP("127.0.0.1", slot.port, local_hostname="client.test", timeout=_PATIENCE_S) as client:
                    for _ in range(chance.randint(1, 12)):
                        self._send(client, chance)
                        if self._over.is_set():
                            break
                        self._rest(chance)
            except (OSError, smtplib.SMTPException):  # it was killed; the offer, if there was one, is noted
                self._over.wait(0.05)

    def _send(self, client: smtplib.SMTP, chance: random.Random) -> None:
        number = next(self._numbers)
        correlation, sender = f"c{number}", f"m{number}@{LANE_DOMAIN}"
        recipients = _recipients(number, chance)
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = sender, recipients[0], f"letter {number}"
        message["X-Correlation-Id"], message["X-Lane-Campaign"] = correlation, f"campaign-{number % 5}"
        message.set_content(f"Number {number}.\r\n" + "x" * 70 * chance.choice((1, 10, 100)))
        began = time.time()
        outcome = "in-doubt"
        refused: dict[str, tuple[int, bytes]] = {}
        try:
            refused = client.sendmail(sender, recipients, message.as_bytes(policy=SMTP))
            outcome = "accepted"
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
            outcome = "refused"
        finally:
            ended = time.time()
            self._note(
                [
                    Offer(one, sender, "refused" if one in refused else outcome, began, ended)  # type: ignore[arg-type]
                    for one in recipients
                ]
            )

    # HTTP

    def _http(self, chance: random.Random) -> None:
        while not self._over.is_set():
            self._post(chance.choice(self._slots), chance)
            self._rest(chance)

    def _post(self, slot: Slot, chance: random.Random) -> None:
        number = next(self._numbers)
        correlation, sender = f"h{number}", f"m{number}@{LANE_DOMAIN}"
        recipients = [f"user{number}-{at}@{chance.choice(DOMAINS)}" for at in range(chance.choice((1, 1, 3, 6)))]
        body = {
            "from": sender, "recipients": recipients, "subject": f"letter {number}", "text": "Your code is 1.",
            "correlationId": correlation,
        }  # fmt: skip
        again = chance.random() < 0.3
        began = time.time()
        deadline = began + 60
        while time.time() < deadline:
            try:
                answer = post(slot.http_port, body, key=correlation)
            except (OSError, HTTPException, ValueError):
                time.sleep(0.1)  # killed: the same request under the same key, until it is answered
                continue
            if answer.status == 200:
                said = {one["to"]: one["status"] for one in answer.body["results"]}
                if again:  # an application that lost the answer
                    again = False
                    self.repeated += 1
                    continue
                self._note([Offer(one, sender, said.get(one, "refused"), began, time.time()) for one in recipients])
                return
            time.sleep(0.1)
        self._note([Offer(one, sender, "in-doubt", began, time.time()) for one in recipients])


def _recipients(number: int, chance: random.Random) -> list[str]:
    """Addresses of one message: at most one that bounces."""
    kind = chance.random()
    domain = chance.choice(DOMAINS)
    if kind < 0.05:
        return [f"gone{number}@{domain}"]
    if kind < 0.15:
        return [f"defer{number}@{domain}"]
    if kind < 0.17:
        return [f"held{number}@{HELD}"]
    if kind < 0.20:
        return [f"complain{number}@{LOOP}"]
    count = chance.choice((1, 1, 1, 2, 4))
    return [f"user{number}-{at}@{chance.choice(DOMAINS)}" for at in range(count)]
