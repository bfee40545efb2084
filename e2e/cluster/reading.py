"""Reading objects without a process for each look: what `kubectl get ... -o json` answers, over one kept connection.

A kubectl costs a twentieth of a second of CPU, most of it a TLS handshake and the parsing of what it remembers of the
API; a test looks hundreds of times. Before: the clusters' `get`. After: the API server, as the cluster's administrator.
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode

import kubernetes
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from e2e.cluster.errors import ClusterError

_PATIENCE: Final = (5.0, 60.0)
"""Seconds: to connect, and for an answer."""
_DISCOVERY: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_FIX: Final = "is the cluster up? `status` tells"


class _Words(ArgumentParser):
    """What follows `kubectl get`."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("kinds")
        self.add_argument("name", nargs="?", default="")
        self.add_argument("-n", "--namespace", default="default")
        self.add_argument("-l", "--selector", default="")
        self.add_argument("-A", "--all-namespaces", action="store_true")
        self.add_argument("--show-managed-fields", action="store_true")
        self.add_argument("--ignore-not-found", action="store_true")

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"get: {message}; what else kubectl can, `kubectl` does")


class _NotThereError(ClusterError):
    """The server answers, and knows no such object."""


class Reader:
    """The objects of one cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        """Nothing is asked yet."""
        self._api: ApiClient = kubernetes.config.new_client_from_config(str(kubeconfig))
        self._paths: dict[str, tuple[str, str, bool]] = {}
        """By each word for a kind: the path before the namespace, the plural, whether it has one."""

    def get(self, *words: str) -> Any:
        """The object, or the list where there is no name; raises ClusterError where there is none or no answer.

        An object that is not there is empty with `--ignore-not-found`; so is one whose kind has gone meanwhile.
        """
        asked = _Words().parse_args(words)
        kinds, name = asked.kinds.split(","), asked.name
        if "/" in asked.kinds:
            kind, _, name = asked.kinds.partition("/")
            kinds = [kind]
        namespace = "" if asked.all_namespaces else asked.namespace
        try:
            found = [self._ask(self._path(kind, namespace, name), selector=asked.selector) for kind in kinds]
        except _NotThereError:
            if not asked.ignore_not_found:
                raise
            return {}
        for one in found:
            _as_kubectl_shows(one, managed=asked.show_managed_fields)
        if len(found) == 1:
            return found[0]
        return {"apiVersion": "v1", "kind": "List", "items": [item for one in found for item in one["items"]]}

    def _path(self, kind: str, namespace: str, name: str) -> str:
        if kind not in self._paths:  # asked again for a kind that came later
            self._paths = dict(self._discovered())
        if kind not in self._paths:
            raise ClusterError(f"the server has no resource type {kind!r}", "is its CRD applied?")
        root, plural, has_namespace = self._paths[kind]
        within = f"/namespaces/{quote(namespace)}" if has_namespace and namespace else ""
        return f"{root}{within}/{plural}" + (f"/{quote(name)}" if name else "")

    def _discovered(self) -> Iterator[tuple[str, tuple[str, str, bool]]]:
        """Later ones win: groups in the server's order from the last on, then what has no group."""
        for root in ("/apis", "/api"):
            for group in reversed(self._ask(root, accept=_DISCOVERY)["items"]):
                of_group = group["metadata"].get("name", "")
                version = group["versions"][0]
                for one in version["resources"]:
                    plural = one["resource"]
                    place = "/".join(filter(None, (root, of_group, version["version"])))
                    path = (place, plural, one["scope"] == "Namespaced")
                    singular = one.get("singularResource") or one["responseKind"]["kind"].lower()
                    for word in (plural, singular, *one.get("shortNames", ())):
                        yield word, path
                        yield f"{word}.{of_group}", path

    def _ask(self, path: str, *, selector: str = "", accept: str = "application/json") -> Any:
        query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
        address = f"{self._api.configuration.host}{path}{query}"
        try:
            answer = self._api.call_api("GET", address, {"Accept": accept}, _request_timeout=_PATIENCE)
            found = json.loads(answer.read())
        except (ApiException, HTTPError, ValueError) as error:  # nobody answers, or nobody who knows the API
            raise ClusterError(f"get {path}: {error}", _FIX) from error
        if answer.status == HTTPStatus.NOT_FOUND:
            raise _NotThereError(f"get {path}: {found.get('message')}", "is it applied, and in this namespace?")
        if answer.status != HTTPStatus.OK:
            raise ClusterError(f"get {path}: {answer.status}: {found.get('message')}", _FIX)
        return found


def _as_kubectl_shows(found: dict[str, Any], *, managed: bool) -> None:
    """Each item of a list says its kind; who manages which field only where that is asked."""
    for item in found.get("items", ()):
        item.setdefault("apiVersion", found["apiVersion"])
        item.setdefault("kind", found["kind"].removesuffix("List"))
    if not managed:
        for one in found.get("items", (found,)):
            one["metadata"].pop("managedFields", None)


def read(kubeconfig: Path, *words: str) -> Any:
    """What `kubectl get WORDS -o json` answers; the file may change, as with a cluster that comes anew."""
    try:
        written = kubeconfig.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise ClusterError(f"{kubeconfig} is not there", _FIX) from error
    return _reader(kubeconfig, written).get(*words)


@lru_cache(maxsize=8)
def _reader(kubeconfig: Path, _written: int) -> Reader:
    return Reader(kubeconfig)
