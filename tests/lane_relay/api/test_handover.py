"""What comes to `/v1/handover` from siblings."""

from dataclasses import dataclass
from io import BytesIO

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application

from lane_relay.api.handover import operations
from lane_relay.api.operation import routes_of
from lane_relay.handover.consignment import Answer, Consignment, Parcel, encode
from lane_relay.records import Envelope, Message

MIB = 2**20


@dataclass
class Memory:
    """For mail that is coming in."""

    held_bytes: int = 0
    memory_budget: int = 64 * MIB


class Willing:
    """Knows everybody."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.taken: list[int] = []
        """Bytes of memory that were held while something was taken."""
        self.memory = Memory()

    def knows(self, giver: str, names: tuple[str, ...]) -> bool:
        return True

    async def take(self, transfer: str, consignment: Consignment) -> Answer:
        self.taken.append(self.memory.held_bytes)
        return Answer()

    async def ask(self, transfer: str, giver: str) -> Answer:
        self.asked.append(transfer)
        return Answer()

    async def forget(self, transfer: str, giver: str) -> None:
        return None

    def open_with(self, slot: str) -> tuple[str, ...]:
        return ("0" * 32,) if slot == "b" else ()


async def test_the_largest_message_is_that_of_the_configuration_in_force() -> None:
    largest = MIB
    application = Application()
    application.add_routes(routes_of(operations(Willing(), lambda: largest, Memory())))
    async with TestClient(TestServer(application)) as client:

        async def refusal() -> str:
            answer = await client.post(f"/v1/handover/{'0' * 32}?giver=b", data=BytesIO(bytes(40 * MIB)))
            assert answer.status == 422
            return str((await answer.json())["error"])

        assert await refusal() == f"more than {33 * MIB} octets"
        largest = 10 * MIB
        assert "not a consignment" in await refusal()


async def test_what_siblings_bring_counts_into_the_memory_for_incoming_mail_and_beyond_it_is_refused_for_ever() -> None:
    partner = Willing()
    application = Application()
    application.add_routes(routes_of(operations(partner, lambda: 8 * MIB, partner.memory)))
    message = Message(0, Envelope("a@brand.test", ("b@isp.test",)), bytes(6 * MIB))
    consignment = encode(Consignment("b", (Parcel("0" * 24, message, 0, 0.0),)))
    async with TestClient(TestServer(application)) as client:

        async def bring(transfer: str) -> int:
            answer = await client.post(f"/v1/handover/{transfer * 32}?giver=b", data=BytesIO(consignment))
            await answer.read()
            return answer.status

        assert await bring("1") == 200
        assert partner.taken == [2 * len(consignment)]
        partner.memory.held_bytes = 60 * MIB  # of clients
        assert await bring("2") == 429
        assert (partner.asked, partner.memory.held_bytes) == (["2" * 32], 60 * MIB)
        partner.memory.held_bytes, partner.memory.memory_budget = 0, MIB
        assert await bring("3") == 200, "alone it fits, or it never would"
    assert (len(partner.taken), partner.memory.held_bytes) == (2, 0)


async def test_a_receiver_is_told_which_transfers_to_it_alone_are_not_over() -> None:
    partner = Willing()
    application = Application()
    application.add_routes(routes_of(operations(partner, lambda: MIB, partner.memory)))
    async with TestClient(TestServer(application)) as client:
        said = [await (await client.get(f"/v1/handover/given?giver={slot}")).json() for slot in ("b", "c")]
    assert said == [{"transfers": ["0" * 32]}, {"transfers": []}]
    assert partner.asked == [], "it is no transfer's name"
