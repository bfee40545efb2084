"""A real name server on loopback for one zone: bind9, with a folder of its own."""

import subprocess
from pathlib import Path

import dns.message
import dns.query

__all__ = ["NameServer"]

_HEADER = "$TTL 300\n@ IN SOA ns.test. hostmaster.test. 1 300 60 3600 60\n@ IN NS ns\nns IN A 127.0.0.1\n"
_REVERSE = "$TTL 300\n@ IN SOA ns.test. hostmaster.test. 1 300 60 3600 60\n@ IN NS ns.test.\n"


class NameServer:
    """Answers for `test.` with the records it was given, and refuses everything else."""

    def __init__(self, folder: Path, port: int, records: str, reverse: str = "") -> None:
        """Starts bind9 and returns when it answers; `records` are zone-file lines below `test.`, `reverse` those of
        127.0.0.0/24."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "reverse.zone").write_text(_REVERSE + reverse + "\n")
        (folder / "test.zone").write_text(_HEADER + records + "\n")
        (folder / "named.conf").write_text(
            f"""options {{ directory "{folder}"; pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key";
  managed-keys-directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; allow-query {{ any; }}; notify no; dnssec-validation no; empty-zones-enable no; }};
controls {{ }};
zone "test" {{ type primary; file "test.zone"; }};
zone "0.0.127.in-addr.arpa" {{ type primary; file "reverse.zone"; }};
"""
        )
        self.address = f"127.0.0.1:{port}"
        with (folder / "named.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["named", "-g", "-n", "1", "-c", str(folder / "named.conf")], stdout=log, stderr=log
            )
        try:
            self._await(port)
        except TimeoutError:
            self.stop()
            raise TimeoutError(f"bind9 does not answer: {(folder / 'named.log').read_text()[-2000:]}") from None

    def _await(self, port: int) -> None:
        """Asks until there is an answer."""
        question = dns.message.make_query("test.", "SOA")
        for _ in range(200):
            try:
                dns.query.udp(question, "127.0.0.1", timeout=0.1, port=port)
            except (OSError, dns.exception.Timeout):
                continue
            return
        raise TimeoutError

    def stop(self) -> None:
        """Ends bind9."""
        self._process.terminate()
        self._process.wait()
