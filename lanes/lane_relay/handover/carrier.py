"""The way to the siblings: HTTPS to their admin port, with a certificate of the lane's own authority on both sides.

Invariant: an error before the connection stands is NotSentError; whatever happens afterwards leaves it open whether
the sibling has the transfer, and is UnansweredError (NotNowError where the sibling is there). Nothing is retried here.
Before it: `giver`. After it: the sibling's `/v1/handover`.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import aiohttp
from msgspec.json import Decoder

from lane_api.relayconfig import HandOver, TlsFiles
from lane_relay.errors import NOT_OURS, RelayError
from lane_relay.handover.carriage import NotNowError, NotSentError, UnansweredError
from lane_relay.handover.consignment import GIVEN_NAME, Answer, Consignment, StillOpen, encode

__all__ = ["HttpsCarrier"]

_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 60.0
"""A slow disk may take its time over 4 MiB; afterwards the giver asks."""
_decode: Final = Decoder(Answer).decode
_decode_open: Final = Decoder(StillOpen).decode


class HttpsCarrier:
    """One client for all siblings; certificates are read again when their files change."""

    def __init__(self, config: HandOver, tls: TlsFiles, slot: str) -> None:
        """`slot` is our own name."""
        self._slot = slot
        self._session: aiohttp.ClientSession | None = None
        self._stamp: tuple[int, ...] = ()
        self._context: ssl.SSLContext | None = None
        self.apply(config, tls)

    def apply(self, config: HandOver, tls: TlsFiles) -> None:
        """Other siblings or certificates, from the next request on."""
        self._siblings = {one.slot: one for one in config.siblings}
        self._files = (config.ca_file, tls.certificate, tls.key)

    async def offer(self, slot: str, transfer: str, consignment: Consignment) -> Answer:
        """See Carrier."""
        return await self._request("POST", slot, transfer, body=encode(consignment), refusal_is_final=True)

    async def ask(self, slot: str, transfer: str) -> Answer:
        """See Carrier."""
        return await self._request("GET", slot, transfer)

    async def forget(self, slot: str, transfer: str) -> None:
        """See Carrier."""
        await self._request("DELETE", slot, transfer)

    async def given(self, slot: str) -> tuple[str, ...]:
        """See Carrier."""
        status, said, _ = await self._send("GET", slot, GIVEN_NAME)
        if status != 200:
            raise NotNowError(f"{status} {said[:200].decode('utf-8', 'replace')}")
        try:
            return _decode_open(said).transfers
        except NOT_OURS as error:
            raise NotNowError(f"the answer is none: {error}") from error

    @property
    def siblings(self) -> tuple[str, ...]:
        """Names of the lane's other slots."""
        return tuple(self._siblings)

    async def fetch(
        self,
        slot: str,
        name: str,
        params: Mapping[str, str],
        *,
        method: Literal["GET", "PUT"] = "GET",
        body: bytes | None = None,
    ) -> tuple[bytes, Mapping[str, str]]:
        """What a sibling answers under this name, and its header; raises RelayError where it has nothing to say.

        Both methods may be repeated: where a kept connection turns out to be over, aiohttp does so by itself.
        """
        try:
            status, said, header = await self._send(method, slot, name, params=params, body=body)
        except (NotSentError, UnansweredError) as error:
            raise RelayError(str(error)) from error
        if status != 200:
            raise RelayError(f"{slot}: {status} {said[:200].decode('utf-8', 'replace')}")
        return said, header

    async def close(self) -> None:
        """Ends the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _request(
        self, method: str, slot: str, transfer: str, *, body: bytes | None = None, refusal_is_final: bool = False
    ) -> Answer:
        status, said, _ = await self._send(method, slot, transfer, body=body)
        return _answer(status, said, refusal_is_final=refusal_is_final)

    async def _send(
        self,
        method: str,
        slot: str,
        name: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        sibling = self._siblings.get(slot)
        if sibling is None:
            raise NotSentError(f"slot {slot} is not among the siblings")
        url = f"https://{sibling.host}:{sibling.port}/v1/handover/{name}"
        try:
            async with self._client().request(
                method,
                url,
                data=body,
                ssl=self._tls(),
                server_hostname=sibling.name or sibling.host,
                params={**(params or {}), "giver": self._slot},
                allow_redirects=False,
            ) as response:
                return response.status, await response.read(), response.headers
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSentError(f"{sibling.host}:{sibling.port}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnansweredError(f"{sibling.host}:{sibling.port}: {error or type(error).__name__}") from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_ANSWER_S, connect=_CONNECT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def _tls(self) -> ssl.SSLContext:
        """The context in force; raises NotSentError while the files do not fit together."""
        try:
            stamp = tuple(Path(name).stat().st_mtime_ns for name in self._files)
            if self._context is None or stamp != self._stamp:
                authority, certificate, key = self._files
                context = ssl.create_default_context(cafile=authority)
                context.load_cert_chain(certificate, key)
                self._context, self._stamp = context, stamp
        except (OSError, ssl.SSLError) as error:
            raise NotSentError(f"the slot's certificate cannot be used: {error}") from error
        return self._context


def _answer(status: int, body: bytes, *, refusal_is_final: bool) -> Answer:
    """What the sibling said; raises UnansweredError where that leaves it open."""
    if status == 200:
        try:
            return _decode(body)
        except NOT_OURS as error:
            raise NotNowError(f"the answer is none: {error}") from error
    text = body[:200].decode("utf-8", "replace")
    if refusal_is_final and 400 <= status < 500:
        return Answer(reason=f"{status} {text}")
    raise NotNowError(f"{status} {text}")
