"""The ISPs of a campaign, each with one domain and one exchanger, and the resolver that knows them.

Before: a campaign in its namespaces. After: `e2e.internet.isp`, whose records are the evidence.
"""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from e2e.internet.control_client import IspControl
from e2e.internet.isp import Host, IspConfig, IspsConfig
from e2e.internet.policy import Policy
from e2e.internet.records import Record
from tests.chaos.ground import CHECKOUT, NETWORK
from tests.chaos.resolver import Resolver

RESOLVER: Final = f"{NETWORK}.53"
T = TypeVar("T")


class ChaosInternet:
    """ISPs by domain; ended with the campaign."""

    def __init__(self, folder: Path, policies: Mapping[str, Policy]) -> None:
        """`policies` by domain."""
        self.domains = tuple(policies)
        self.hosts = {domain: f"{NETWORK}.{100 + at}" for at, domain in enumerate(policies)}
        self._config = IspsConfig(
            isps=tuple(
                IspConfig(
                    name=domain, hosts=(Host(hostname=f"mx.{domain}", ip=self.hosts[domain]),), policy=policies[domain]
                )
                for domain in policies
            ),
            control=folder / "isps.sock",
            records=folder / "isps",
            watch_wire=False,
        )
        self._file = folder / "isps.json"
        self._log = folder / "isps.log"
        self.resolver = Resolver(RESOLVER, self.hosts)

    def __enter__(self) -> Self:
        self._file.write_text(self._config.model_dump_json())
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "e2e.internet.isp", "--config", str(self._file)],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=CHECKOUT,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", self._log.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.resolver.close()

    @property
    def pid(self) -> int:
        """Of the process in which all ISPs are."""
        return self._process.pid

    def ask(self, what: Callable[[IspControl], Awaitable[T]]) -> T:
        """One question to the ISPs."""

        async def go() -> T:
            async with IspControl(self._config.control) as control:
                return await what(control)

        return asyncio.run(go())

    def connections_from(self, source_ip: str) -> int:
        """Connections that an address has open with all ISPs now."""
        counts = self.ask(lambda control: control.counts())
        return sum(isp.get(source_ip, {}).get("connections_now", 0) for isp in counts.values())

    def change(self, domain: str, **changes: Any) -> None:
        """Lays values over one ISP's policy."""
        self.ask(lambda control: control.change_policy(domain, **changes))

    def records(self, *domains: str) -> list[Record]:
        """What these ISPs, or all, wrote down."""

        async def all_of(control: IspControl) -> list[Record]:
            return [one for domain in domains or self.domains for one in await control.dump(domain)]

        return self.ask(all_of)
