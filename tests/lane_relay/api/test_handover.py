"""What comes to `/v1/handover` from siblings."""

from io import BytesIO

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application

from lane_relay.api.handover import operations
from lane_relay.api.operation import routes_of
from lane_relay.handover.consignment import Answer, Consignment

MIB = 2**20


class Willing:
    """Knows everybody."""

    def knows(self, giver: str, names: tuple[str, ...]) -> bool:
        return True

    async def take(self, transfer: str, consignment: Consignment) -> Answer:
        return Answer()

    async def ask(self, transfer: str, giver: str) -> Answer:
        return Answer()

    async def forget(self, transfer: str, giver: str) -> None:
        return None


async def test_the_largest_message_is_that_of_the_configuration_in_force() -> None:
    largest = MIB
    application = Application()
    application.add_routes(routes_of(operations(Willing(), lambda: largest)))
    async with TestClient(TestServer(application)) as client:

        async def refusal() -> str:
            answer = await client.post(f"/v1/handover/{'0' * 32}?giver=b", data=BytesIO(bytes(40 * MIB)))
            assert answer.status == 422
            return str((await answer.json())["error"])

        assert await refusal() == f"more than {33 * MIB} octets"
        largest = 10 * MIB
        assert "not a consignment" in await refusal()
