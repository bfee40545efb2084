"""Delivery to a server that somebody else wrote."""

import asyncio
from email import message_from_bytes

from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import SMTP

from lane_api.isppolicy import Action
from tests.lane_relay.deliver.delivery import delivering, route_to


class _Keeper(MessageHandler):
    """Keeps what it takes; one recipient is unknown to it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[object] = []

    def handle_message(self, message: object) -> None:
        """One message."""
        self.kept.append(message)

    async def handle_RCPT(self, server, session, envelope, address, options):  # type: ignore[no-untyped-def] # noqa: N802 -- aiosmtpd's name and untyped interface
        """All but one."""
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


async def test_aiosmtpd_takes_our_messages_over_kept_connections() -> None:
    keeper = _Keeper()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(keeper, hostname="peer.test", loop=loop), "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        async with delivering(connections=2) as delivery:
            for _ in range(20):
                delivery.send(route_to(port), "b@peer.test", "nobody@peer.test")
            attempts = await delivery.attempted(20)
            actions = {tuple(result.verdict.action for result in attempt.results) for attempt in attempts}
            assert actions == {(None, Action.BOUNCE)}
            assert len({attempt.session for attempt in attempts}) == 2
    finally:
        server.close()
    assert len(keeper.kept) == 20
    assert message_from_bytes(bytes(keeper.kept[0])).get_payload() == "Hello\n.dotted\n"  # type: ignore[call-overload] # email's Message has __bytes__
