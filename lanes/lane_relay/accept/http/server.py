"""The HTTP listener of a slot: its socket, who may send requests, how many at a time, and the graceful stop.

TLS with the lane's certificate, unless the configuration says `plain`: for loopback, or where a service mesh encrypts.
Invariants: nothing of a request but its size is looked at before its client may submit; a request that was begun is
answered, unless its client is gone; no header, body or credential of a request is ever logged. Limits, certificate,
users, policy and counters are the SMTP listener's. Before it: `connection`. After it: `injection`.
"""

import asyncio
import binascii
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from lane_api.isppolicy import Stage
from lane_api.listening import HttpListener
from lane_api.relayconfig import RelayConfig
from lane_relay.accept.connection import MEMORY_FULL
from lane_relay.accept.door import Door, Peer
from lane_relay.accept.http.answer import Answer, problem, refused
from lane_relay.accept.http.connection import SERVER, Connection, Connections
from lane_relay.accept.http.document import document_bytes
from lane_relay.accept.http.injection import Caller, Injector
from lane_relay.accept.http.ledger import Ledger
from lane_relay.accept.http.witnesses import PassedAnswer, Way, Witnesses, decode_passed
from lane_relay.accept.intake import Rejection
from lane_relay.accept.policy import AUTH_REQUIRED, client_address
from lane_relay.errors import NOT_OURS
from lane_relay.guard import contain, report
from lane_relay.records import Reply

if TYPE_CHECKING:
    from lane_relay.accept.listener import Listener

__all__ = ["HttpServer"]

_SWEEP_EVERY_S: Final = 5.0
_REQUESTS: Final = 64
"""In work at a time; each may hold its body in memory."""
_REQUESTS_A_CLIENT: Final = 32
_BODY_S: Final = 120.0
"""From a request's head to the end of its body; each has one of the places above meanwhile."""
_CHUNK: Final = 2**16
_AROUND_A_BODY: Final = 2**16
"""What a sibling sends beside the body: who its client is."""
_MESSAGES, _DOCUMENT = "/v1/messages", "/v1/openapi.json"
_ALLOWED: Final = {_MESSAGES: "POST", _DOCUMENT: "GET"}
_AUTH_FAILED: Final = Reply(535, ("5.7.8 User name or password is wrong",))
_AUTH_BUSY: Final = Reply(454, ("4.7.0 Users cannot be checked now, try again later",))
_TOO_MANY: Final = Reply(421, ("4.7.0 Too many requests, try again later",))

_log = structlog.get_logger("http")


class HttpServer:
    """HTTP intake of one slot."""

    def __init__(
        self,
        config: RelayConfig,
        listener: "Listener",
        ledger: Ledger,
        keep: Callable[[], Callable[[], None]],
        *,
        way: Way | None = None,
        body_within_s: float = _BODY_S,
    ) -> None:
        """Opens nothing yet; `config.intake.http` is there, `keep` is the spool's, `way` goes to the siblings."""
        self._body_within_s = body_within_s
        self._listener = listener
        self.witnesses = Witnesses(ledger, config.slot.name, way, listener.clock.monotonic)
        """Of the keys, in a lane of several slots."""
        self.ledger = ledger
        """Of the keys; whoever made it closes it."""
        self._injector = Injector(listener, ledger, keep, config.slot.name, self.witnesses)
        self._connections = Connections(
            self._respond,
            config.intake.limits,
            listener.clock.monotonic,
            lambda client: listener.allowances.connect(client, listener.clock.monotonic()),
            may_go=lambda client: not listener.policy.is_trusted(client_address(client)),
            counted_as=lambda client: listener.policy.counted_as(client),  # noqa: PLW0108 -- of the policy in force
        )
        self._door: Door | None = None
        self._at_door: asyncio.Task[None] | None = None
        self._in_work: Counter[str] = Counter()
        self._none_in_work = asyncio.Event()
        self._none_in_work.set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self.answered: Counter[str] = Counter()
        """Requests by status."""
        self._settings = _settings(config)
        self.apply(config)

    def apply(self, config: RelayConfig) -> None:
        """Takes another configuration's limits; of address, port and TLS no change comes here."""
        self._settings = _settings(config)
        self._connections.limits = config.intake.limits
        self._largest = self._settings.max_request_size or 2 * config.intake.max_message_size
        self._injector.max_recipients = self._settings.max_recipients

    # -- what the pipeline does

    async def start(self) -> None:
        """Opens the socket; raises OSError if the address cannot be bound."""
        listener = self._listener
        door = self._door = Door(
            self._settings,
            certificate=None if self._settings.plain else listener.certificate,
            make=self._connections.make,
            is_proxy=self._is_proxy,
        )
        self._at_door = asyncio.get_running_loop().create_task(
            door.connections(lambda connection, peer: listener.let_in(door, connection, peer))
        )
        self._at_door.add_done_callback(report)
        self._sweep_again()

    def _is_proxy(self, peer: Peer) -> bool:
        """By the policy of the moment."""
        return self._listener.policy.is_proxy(peer)

    @property
    def ports(self) -> tuple[int, ...]:
        """The port of the listener, once it is open."""
        return (self._door.port,) if self._door is not None else ()

    @property
    def session_count(self) -> int:
        """Requests in work now; a connection between requests holds nothing up."""
        return self._in_work.total()

    async def stop(self, grace_s: float) -> None:
        """Takes no new requests, answers those in work for so long, then cuts them off."""
        self._is_stopping = True
        if self._at_door is not None and self._door is not None:
            self._at_door.cancel()
            await asyncio.gather(self._at_door, return_exceptions=True)
            self._door.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        try:
            async with asyncio.timeout(grace_s):
                await self._none_in_work.wait()
        except TimeoutError:
            _log.warning("requests cut off at the end of the grace period", count=self.session_count)
        await self._connections.shutdown(1.0)
        await self._injector.close()

    def _sweep_again(self) -> None:
        self._connections.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._sweep_again)

    # -- one request

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Whatever comes, an answer in our words; what broke us says so in the log, without the request."""
        try:
            answer = await self._answer(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except web.RequestPayloadError as broken:
            answer = problem(
                HTTPStatus.BAD_REQUEST, f"the body breaks off or is no HTTP: {' '.join(str(broken).split())}"
            )
        except Exception as error:  # noqa: BLE001 -- one request's mistake of ours ends no other's
            contain("submission", error, client=_client(request))
            answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this is our mistake; the reason is in the slot's log")
        self.answered[str(answer.status)] += 1
        if isinstance(answer, web.Response):
            return answer
        response = web.Response(status=answer.status, body=answer.encoded(), headers=answer.headers | SERVER)
        response.content_type = answer.media_type
        if answer.status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT) or self._is_stopping:
            response.force_close()  # the rest of the body is not worth reading
        elif request.content.exception() is not None or self._has_erred_too_often(_client(request)):
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> Answer | web.Response:
        allowed = _ALLOWED.get(request.path)
        if allowed is None:
            return problem(HTTPStatus.NOT_FOUND, f"there are POST {_MESSAGES} and GET {_DOCUMENT}")
        if request.method != allowed:
            answer = problem(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed} here")
            answer.headers["Allow"] = allowed
            return answer
        if request.path == _DOCUMENT:
            return web.Response(body=document_bytes(), content_type="application/json", headers=SERVER)
        client = _client(request)
        # Whose password is being checked has no place yet: who guesses many would have them all.
        user = self._refuse_one_more(client) or await self._authenticate(request, client)
        if isinstance(user, Answer):
            return user
        with self._place(client) as place:
            return place if place is not None else await self._take(request, client, user)

    def _refuse_one_more(self, client: str) -> Answer | None:
        """Why no more requests are taken now, of anybody or of this client."""
        if self._is_stopping or self._in_work.total() >= _REQUESTS:
            return refused(_TOO_MANY)
        if self._in_work[client] >= _REQUESTS_A_CLIENT:
            return problem(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY.text.removeprefix("4.7.0 "), code="421 4.7.0")
        return None

    @contextmanager
    def _place(self, client: str) -> Iterator[Answer | None]:
        """One of the places for requests in work, meanwhile; or gives why there is none."""
        one_too_many = self._refuse_one_more(client)
        if one_too_many is not None:
            yield one_too_many
            return
        self._in_work[client] += 1
        self._none_in_work.clear()
        try:
            yield None
        finally:
            self._in_work[client] -= 1
            self._in_work += Counter()  # drops clients with none
            if not self._in_work:
                self._none_in_work.set()

    async def pass_in(self, parts: AsyncIterator[bytes]) -> PassedAnswer | str:
        """Answers a request that a sibling passes on because its key is ours, or says what is wrong with it."""
        with self._memory() as hold:
            body = await self._body(parts, hold, self._largest + _AROUND_A_BODY)
            if isinstance(body, Answer):
                return _passed_back(body)
            try:
                passed = decode_passed(body)
            except NOT_OURS as wrong:
                return f"no request that was passed on: {wrong}"
            with self._place(passed.client) as place:
                return _passed_back(place if place is not None else await self._injector.inject_passed(passed))

    async def _take(self, request: web.BaseRequest, client: str, user: str) -> Answer:
        if request.content_type != "application/json":
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
        if "Content-Encoding" in request.headers:  # a few octets would become many
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as it is, without Content-Encoding")
        if (request.content_length or 0) > self._largest:
            return _too_large(self._largest)
        key = _key(request)
        if isinstance(key, Answer):
            return key
        if request.headers.get("Expect", "").lower() == "100-continue":  # it waits to hear that the body is wanted
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # of the answer, which has not begun
        with self._memory() as hold:
            try:
                async with asyncio.timeout(self._body_within_s):
                    body = await self._body(request.content.iter_chunked(_CHUNK), hold, self._largest)
            except TimeoutError:
                return problem(
                    HTTPStatus.REQUEST_TIMEOUT, f"the body was not complete after {self._body_within_s:.0f} s"
                )
            if isinstance(body, Answer):
                return body
            protocol = _connection(request)
            protocol.in_work = True
            try:
                caller = Caller(client, user, "HTTP" if self._settings.plain else "HTTPS")
                return await self._injector.inject(body, caller, key)
            finally:
                protocol.in_work = False

    @contextmanager
    def _memory(self) -> Iterator[Callable[[int], bool]]:
        """Counts what a request holds, meanwhile; what it yields takes so many bytes more, and says if they fit."""
        listener, held = self._listener, 0

        def hold(more: int) -> bool:
            nonlocal held
            held += more
            listener.held_bytes += more
            return listener.held_bytes <= listener.memory_budget

        try:
            yield hold
        finally:
            listener.held_bytes -= held

    async def _body(self, incoming: AsyncIterator[bytes], hold: Callable[[int], bool], largest: int) -> bytes | Answer:
        """The body; its bytes are counted as they come, for a length that is announced may be a lie."""
        parts = bytearray()
        async for part in incoming:
            parts += part
            if len(parts) > largest:
                return _too_large(self._largest)
            if not hold(len(part)):
                return refused(MEMORY_FULL)
        return bytes(parts)

    # -- who it is

    async def _authenticate(self, request: web.BaseRequest, client: str) -> str | Answer:
        """The user's name, empty for a client of the lane's networks, or why not."""
        given = request.headers.get("Authorization")
        if given is None:
            if self._listener.policy.is_trusted(client_address(client)):
                return ""
            self._reject(AUTH_REQUIRED, client)
            return refused(AUTH_REQUIRED)
        credentials = _credentials(given)
        if credentials is None:
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "send Authorization: Basic or Bearer, each with base64 of user:password",
                code="535 5.7.8",
            )
        protocol = _connection(request)
        protocol.in_work = True
        try:
            future = self._listener.verify(client, *credentials)
            verified = await future if future is not None else None
        except OSError:
            verified = None
        finally:
            protocol.in_work = False
        if verified is None:
            return refused(_AUTH_BUSY)
        if not verified:
            self._reject(_AUTH_FAILED, client)
            await asyncio.sleep(self._listener.checks.pause(client))
            return refused(_AUTH_FAILED)
        protocol.may_go = False
        return credentials[0]

    def _has_erred_too_often(self, client: str) -> bool:
        """It may not connect now: nor go on over a connection that it has."""
        listener = self._listener
        return bool(listener.allowances.error_wait(listener.policy.counted_as(client), listener.clock.monotonic()))

    def _reject(self, reply: Reply, client: str) -> None:
        """Without the name: people send passwords there. It counts as an error of the client's."""
        self._listener.allowances.err(self._listener.policy.counted_as(client), 1, self._listener.clock.monotonic())
        self._listener.reject(Rejection(Stage.EHLO, reply, None, (), client, "", ""), may_submit=False)


def _too_large(largest: int) -> Answer:
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {largest} octets: send fewer recipients, or smaller attachments",
        code="552 5.3.4",
    )


def _passed_back(answer: Answer) -> PassedAnswer:
    return PassedAnswer(answer.status, answer.headers, answer.encoded().decode())


def _settings(config: RelayConfig) -> HttpListener:
    assert config.intake.http is not None  # noqa: S101 -- the pipeline makes no server without
    return config.intake.http


def _connection(request: web.BaseRequest) -> Connection:
    protocol = request.protocol
    assert isinstance(protocol, Connection)  # noqa: S101 -- Connections makes no other
    return protocol


def _client(request: web.BaseRequest) -> str:
    protocol = request.protocol
    return protocol.client if isinstance(protocol, Connection) else ""


def _credentials(header: str) -> tuple[str, str] | None:
    """User and password of an Authorization header: Basic (RFC 7617), or Bearer with the same token."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() not in ("basic", "bearer"):
        return None
    try:
        user, colon, password = b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon and user else None


def _key(request: web.BaseRequest) -> str | Answer | None:
    """The Idempotency-Key field, with or without the quotes of a structured field."""
    given = {one.strip().removeprefix('"').removesuffix('"') for one in request.headers.getall("Idempotency-Key", ())}
    if len(given) > 1:
        return problem(HTTPStatus.BAD_REQUEST, "there are two keys for one request: give Idempotency-Key once")
    return next(iter(given), None)
