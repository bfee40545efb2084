"""etcd and the API server on loopback, without nodes or controllers, for as long as one test session.

Before: the programs of `e2e.cluster.programs`. After: `door`, behind which everybody reaches it.
"""

import os
import secrets
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from e2e.cluster import programs
from e2e.cluster.identity import Layout, caches
from e2e.eventually import eventually

CRDS: Final = Path(__file__).resolve().parents[2] / "crds"
_READY_S: Final = 60.0


class ApiServer:
    """The two programs; `url` and `token` are for whoever asks."""

    def __init__(self, folder: Path) -> None:
        """`folder` is empty and takes all that they write."""
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self.token = secrets.token_hex(16)
        self.url = ""
        # whoever listens on loopback here has a certificate that it has just signed itself
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def start(self) -> None:
        """Returns when it serves our kinds; raises AssertionError."""
        layout = Layout("m", self._folder, caches(os.environ))
        programs.ensure(layout, ("kubernetes",))
        etcd, peers, port = (_free_port() for _ in range(3))
        client, peer = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
        self._run(
            layout.bin / "etcd", f"--data-dir={self._folder}/etcd", "--unsafe-no-fsync", "--log-level=error",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
        )  # fmt: skip
        private, public = self._signing_key()
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{self.token},test,test,system:masters\n")
        self._run(
            layout.bin / "kube-apiserver", f"--etcd-servers={client}", "--bind-address=127.0.0.1",
            f"--secure-port={port}", f"--cert-dir={self._folder}", f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=198.19.0.0/16",
            "--service-account-issuer=https://model", f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            # whose controllers do not run here: no pod would come, and no claim would ever go
            "--disable-admission-plugins=ServiceAccount,StorageObjectInUseProtection",
        )  # fmt: skip
        self.url = f"https://127.0.0.1:{port}"
        eventually(lambda: self._answers("/readyz"), f"the API server is ready; {self._folder} has its log", _READY_S)
        for file in sorted(CRDS.glob("*.yaml")):
            definition = yaml.safe_load(file.read_text())
            self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        eventually(self._serves_ours, "our kinds are served", 30)

    def create(self, path: str, body: object) -> None:
        """Makes an object of a collection, as the administrator; raises AssertionError with the server's words."""
        request = urllib.request.Request(f"{self.url}{path}", data=yaml.safe_dump(body).encode(), method="POST")
        request.add_header("Content-Type", "application/yaml")
        try:
            self._open(request).close()
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{path}: {refused.read().decode()[:2000]}") from refused

    def stop(self) -> None:
        """Ends both."""
        for process in reversed(self._started):
            process.kill()
            process.wait()

    def _run(self, program: Path, *arguments: str) -> None:
        with (self._folder / f"{program.name}.log").open("wb") as log:
            self._started.append(subprocess.Popen([str(program), *arguments], stdout=log, stderr=log))

    def _signing_key(self) -> tuple[Path, Path]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private, public = self._folder / "sa.key", self._folder / "sa.pub"
        encoded = serialization.Encoding.PEM
        private.write_bytes(key.private_bytes(encoded, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(encoded, serialization.PublicFormat.SubjectPublicKeyInfo))
        return private, public

    def _answers(self, path: str) -> bool:
        try:
            with self._open(urllib.request.Request(f"{self.url}{path}")) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _serves_ours(self) -> bool:
        kinds = ("sendinglanes", "ippools", "isppolicies")
        return all(self._answers(f"/apis/lanewright.dev/v1alpha1/{plural}") for plural in kinds)

    def _open(self, request: urllib.request.Request) -> "urllib.request._UrlopenRet":
        request.add_header("Authorization", f"Bearer {self.token}")
        return urllib.request.urlopen(request, timeout=10, context=self.tls)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
