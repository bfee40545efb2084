"""Fields of the resources, what a spec with one of them comes to, and named places in that.

A field is a leaf of a model: `lane.queue.retry.first`, `pool.addresses[].ip`. A place is written in words: the child's
kind and name, then a key or an index a step; `name=smtp` is the entry of a list with that name, `json` and `base64` go
into a text. `relay` is the configuration of the lane's first slot, `relay:otp-1` that of another.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lane_api.ippool import IPPoolSpec
from lane_api.isppolicy import ISPPolicySpec
from lane_api.lane_status import LaneStatus
from lane_api.names import DNS_ENDPOINT_KIND
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.cache import Cache
from lane_operator.demands import demand_of
from lane_operator.desired import desired_state, secret_needs
from lane_operator.desired.certificate import CERTIFICATE_KIND
from lane_operator.desired.config_secret import parsed_config
from lane_operator.inputs import Assignment, Claim, DkimKey, Lane, Manifest, NodeFacts, Pool, References, SecretFacts
from lane_operator.pools import allocate
from lane_operator.references import multus_network, policies_of
from tests.lane_operator import made

MODELS: dict[str, type[BaseModel]] = {"lane": SendingLaneSpec, "pool": IPPoolSpec, "policy": ISPPolicySpec}
REFUSED_EMPTY = {"lane.submission.campaignTag", "lane.audit.archive"}
"""Parts of which the API server refuses `{}` (e2e/bad_input.py)."""
AS_GIVEN: Any = object()
"""The value stands there as its owner wrote it."""
DOMAIN = "notify.example.com"
RECORD = "v=DKIM1; k=rsa; p=MIIB"


@dataclass(frozen=True, slots=True)
class Found:
    """A value of a field, and where it must be found; the rest of the specs is the same with it and without."""

    value: Any
    """As users write it; not the default."""
    at: str
    shown: Any = AS_GIVEN
    """What stands there; None: nothing does any more."""
    lane: Mapping[str, Any] = field(default_factory=dict)
    """What the lane says beside it."""
    pool: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    """In place of what the pool gives."""
    within: bool = False
    """A text in which `shown` stands."""


def leaves(model: type[BaseModel], here: str) -> Iterator[str]:
    """Every field that has no parts, and every part that may be written as `{}` and is absent by default."""
    for name, one in model.model_fields.items():
        path = f"{here}.{one.alias or name}"
        parts = list(_models(one.annotation))
        if not parts:
            yield path
        for part in parts:
            inner = f"{path}[]" if get_origin(one.annotation) is tuple else path
            if one.default is None and path not in REFUSED_EMPTY and _may_be_empty(part):
                yield path
            yield from leaves(part, inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from _models(one)


def _may_be_empty(part: type[BaseModel]) -> bool:
    try:
        part.model_validate({})
    except ValidationError:
        return False
    return True


def specs_of(row: Found) -> dict[str, Any]:
    """The specs of lane, pool and policy around the field."""
    return {
        "lane": _laid_over(_LANE, row.lane),
        "pool": _laid_over(_POOL, row.pool),
        "policy": _laid_over(_POLICY, row.policy),
    }


_LANE: dict[str, Any] = {
    "trafficClass": "Transactional",
    "replicas": 2,
    "poolRef": {"name": made.POOL[1], "namespace": made.POOL[0]},
    "submission": {"senders": [f"@{DOMAIN}"]},
    "domains": [{"name": DOMAIN}],
}
_POOL: dict[str, Any] = {
    "classes": ["Transactional", "Bulk"],
    "engine": "Multus",
    "engineConfig": {"network": "mail-pools/public", "prefixLength": 24, "gateway": "203.0.113.1"},
    "addresses": [{"ip": f"203.0.113.{10 + one}", "hostname": f"out{one}.example.com"} for one in range(4)],
    "allowedNamespaces": {"names": ["mail"]},
    "verification": {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector"},
}
_POLICY: dict[str, Any] = {"match": {"mx": ["*.google.com"]}}


def _laid_over(under: Any, over: Any) -> Any:
    """Objects part by part; anything else as a whole."""
    if not isinstance(under, dict) or not isinstance(over, Mapping):
        return deepcopy(over)
    return {name: _laid_over(under.get(name), over[name]) if name in over else deepcopy(under[name])
            for name in {**under, **over}}  # fmt: skip


def with_value(specs: dict[str, Any], leaf: str, value: Any) -> dict[str, Any]:
    """The specs with this value of the field, in the first entry of each list on the way."""
    changed = deepcopy(specs)
    here: Any = changed
    steps = leaf.split(".")
    for step in steps[:-1]:
        name = step.removesuffix("[]")
        here = here.setdefault(name, [{}] if step.endswith("[]") else {})
        here = here[0] if step.endswith("[]") else here
    here[steps[-1]] = value
    return changed


def children(specs: dict[str, Any], claims: tuple[Claim, ...] = ()) -> list[Manifest]:
    """What a lane comes to that is alone with its pool and two policies."""
    of = Lane("mail", "otp", "uid-1", 3, SendingLaneSpec.model_validate(specs["lane"]), LaneStatus())
    pool = Pool(*of.pool_key, "uid-2", 1, "7", IPPoolSpec.model_validate(specs["pool"]))
    cache = Cache()
    for name, spec in (("all", {"match": {"mx": ["*.all.example"]}}), ("gmail", specs["policy"])):
        cache.put("ISPPolicy", _body("ISPPolicy", made.SETTINGS.operator_namespace, name, spec))
    for name, master in (("public", "eth1"), ("other", "eth2")):
        config = json.dumps({"cniVersion": "0.3.1", "type": "macvlan", "master": master})
        cache.put(
            "NetworkAttachmentDefinition", _body("NetworkAttachmentDefinition", "mail-pools", name, {"config": config})
        )
    given = allocate([pool], [demand_of(cache, of)], made.NOW).assignments[of.key]
    kinds = made.KINDS | {CERTIFICATE_KIND, DNS_ENDPOINT_KIND}
    slots = [f"otp-{index}" for index in range(4)] + ["otp-s0"]
    entries = {"tls.crt", "tls.key", "username", "password", "key", "private.key", "access_key_id", "secret_access_key"}
    entries |= {f"{one}.{of_second}{part}" for one in slots for of_second in ("", "second.")
                for part in ("username", "password")}  # fmt: skip
    references = References(
        pool=pool,
        policies=policies_of(cache, of, made.SETTINGS.operator_namespace),
        secrets={name: SecretFacts(name, frozenset(entries), "d") for name in secret_needs(of, pool)},
        dkim={DOMAIN: DkimKey("lw1", f"otp-dkim-{DOMAIN}", "private.key", RECORD)},
        kinds=kinds,
        nodes={f"node-{one}": NodeFacts(f"192.0.2.{index}", zone=f"zone-{one}") for index, one in enumerate("ab", 10)},
        multus_network=multus_network(cache, pool, kinds),
    )
    assignment = Assignment(claims) if claims else given
    return list(desired_state(of, references, assignment, made.SETTINGS).manifests)


def _body(kind: str, namespace: str, name: str, spec: Any) -> Manifest:
    uid = f"{name} {spec}"  # what was read of an object is kept by its uid and version
    metadata = {"name": name, "namespace": namespace, "uid": uid, "generation": 1, "resourceVersion": "7"}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def at(place: str, there: list[Manifest]) -> Any:
    """What stands in this place; None where there is nothing."""
    what, *steps = place.split()
    if what.partition(":")[0] == "relay":
        here = _relay(what.partition(":")[2] or "otp-0", there)
    else:
        kind, _, name = what.partition("/")
        found = [one for one in there if one["kind"] == kind and fnmatchcase(one["metadata"]["name"], name)]
        here = found[0] if found else None
    for step in steps:
        here = _step(here, step)
    return here


def _relay(slot: str, there: list[Manifest]) -> Any:
    """The slot's whole configuration, also what is as by default."""
    config = parsed_config(at(f"Secret/{slot}-config", there))
    return None if config is None else config.model_dump(mode="json", by_alias=True)


def _step(here: Any, step: str) -> Any:
    key, is_named, wanted = step.partition("=")
    match here:
        case str() if step == "json":
            return json.loads(here)
        case str() if step == "base64":
            return base64.b64decode(here).decode()
        case list() if is_named:
            return next((one for one in here if one.get(key) == wanted), None)
        case list():
            return here[int(step)] if int(step) < len(here) else None
        case dict():
            return here.get(step)
        case _:
            return None
