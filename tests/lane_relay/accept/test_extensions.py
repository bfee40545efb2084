"""What EHLO offers, as other people's clients ask for it."""

import asyncio
import smtplib
from email.message import EmailMessage
from email.policy import SMTPUTF8

import aiosmtplib

from lane_relay.records import Notify, RecipientOptions
from tests.lane_relay.accept.clients import CONTENT, RECIPIENT, SENDER, Hands
from tests.lane_relay.accept.conftest import Spool, Start


async def test_reports_and_a_deadline_as_another_client_asks_for_them(start: Start, spool: Spool) -> None:
    listener = await start(clock=Hands().clock)
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=listener.ports[0], start_tls=False, timeout=60)
    async with client:
        await client.ehlo()
        assert all(map(client.supports_extension, ("chunking", "dsn", "deliverby", "smtputf8", "8bitmime", "size")))
        await client.mail(SENDER, options=["RET=HDRS", "ENVID=order-7", "BY=600;R"])
        await client.rcpt(RECIPIENT, options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;b@old.example"])
        await client.data(CONTENT)

    (message,) = spool.messages
    assert (message.envelope.ret, message.envelope.envid) == ("HDRS", "order-7")
    assert message.envelope.options_of(0) == RecipientOptions(Notify.SUCCESS | Notify.FAILURE, "rfc822;b@old.example")
    assert message.expires_at == 1_790_000_600.0


async def test_chunks_become_the_message_that_data_becomes(start: Start, spool: Spool) -> None:
    listener = await start()

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", listener.ports[0], local_hostname="app.example.net", timeout=60) as client:
            client.ehlo()
            assert client.has_extn("chunking")
            for cuts in ((20, 50), (len(CONTENT),), (1, 2, 3)):
                client.mail(SENDER)
                client.rcpt(RECIPIENT)
                for start, end in zip((0, *cuts), (*cuts, len(CONTENT)), strict=True):
                    last = " LAST" if end == len(CONTENT) and start else ""
                    client.send(f"BDAT {end - start}{last}\r\n".encode() + CONTENT[start:end])
                    assert client.getreply()[0] == 250

    await asyncio.to_thread(send)

    assert [message.body.endswith(CONTENT) for message in spool.messages] == [True] * 3


async def test_addresses_of_other_scripts_come_in_by_smtplib(start: Start, spool: Spool) -> None:
    listener = await start()
    message = EmailMessage(policy=SMTPUTF8)
    message["From"], message["To"], message["Subject"] = SENDER, "bücher@isp.example", "Grüße"
    message.set_content("Grüße\n")

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", listener.ports[0], local_hostname="app.example.net", timeout=60) as client:
            client.send_message(message, mail_options=["RET=FULL"], rcpt_options=["NOTIFY=DELAY"])

    await asyncio.to_thread(send)

    (stored,) = spool.messages
    assert stored.envelope.smtp_utf8
    assert stored.envelope.recipients == ("bücher@isp.example",)
    assert (stored.envelope.ret, stored.envelope.options_of(0).notify) == ("FULL", Notify.DELAY)
    assert b" with UTF8SMTP id " in stored.body
