"""Configuration files of the cluster's programs, rendered from the layout and the address plan.

Invariant: pure; the same layout gives the same text. JSON is written where YAML is read, because it is YAML.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from e2e.cluster import addresses
from e2e.cluster.identity import Layout

PAUSE_IMAGE = "lanewright.local/pause:1"


def kubeconfig(pki: Path, user: str, server: str, *, embed: bool = False) -> str:
    """Return a kubeconfig for an identity of the cluster; `embed` puts the keys into it."""

    def part(name: str, path: Path) -> dict[str, str]:
        return {f"{name}-data": base64.b64encode(path.read_bytes()).decode()} if embed else {name: str(path)}

    cluster = {"server": server, **part("certificate-authority", pki / "ca.crt")}
    keys = {**part("client-certificate", pki / f"{user}.crt"), **part("client-key", pki / f"{user}.key")}
    return _json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lanewright", "cluster": cluster}],
            "users": [{"name": user, "user": keys}],
            "contexts": [{"name": "lanewright", "context": {"cluster": "lanewright", "user": user}}],
            "current-context": "lanewright",
        }
    )


OPERATORS: Final = ("lanewright-system", "lanewright-narrow")
"""Namespaces whose service accounts are operators: tests compare what they ask for with what they may."""


def audit_policy() -> str:
    """Return the audit policy: metadata of every write, once, when it was answered; of reads only the operators'."""
    writes = {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]}
    operators = {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{name}" for name in OPERATORS]}
    return _json(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [writes, operators, {"level": "None"}],
        }
    )


def api_server(layout: Layout) -> list[str]:
    """Return the API server's arguments."""
    pki = layout.pki
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={addresses.API_PORT}",
        f"--advertise-address={addresses.CONTROL}",
        f"--service-cluster-ip-range={addresses.SERVICES}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-aggregator-routing=true",  # webhooks are called at their pods: this namespace has no kube-proxy
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--requestheader-client-ca-file={pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        f"--audit-policy-file={layout.conf}/audit-policy.json",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-maxsize=500",  # MB; the default of 100 would turn over within one test of 1,000 lanes
        "--audit-log-maxbackup=2",
    ]


def controller_manager(layout: Layout) -> list[str]:
    """Return the controller manager's arguments."""
    pki = layout.pki
    return [
        f"--kubeconfig={layout.conf}/kcm.kubeconfig",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        f"--root-ca-file={pki}/ca.crt",
        "--use-service-account-credentials",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        f"--cert-dir={layout.state}/kcm-serving",
        f"--flex-volume-plugin-dir={layout.state}/kcm-flex",
        "--leader-elect=false",
        "--node-monitor-grace-period=20s",  # the default of 50 s only makes tests of node loss longer
    ]


def containerd(layout: Layout, node: str) -> str:
    """Return containerd's configuration for one node (containerd 1.6 and 1.7, config version 2)."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    runc = f"{cri}.containerd.runtimes.runc"
    return f'''version = 2
root = "{layout.node(node)}/containerd"
state = "{layout.run}/{node}/state"
[grpc]
  address = "{layout.containerd_socket(node)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.node(node)}/opt"
[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  # root without CAP_SYS_RESOURCE may not lower an OOM score: runc dies with "can't get final child's PID from pipe"
  restrict_oom_score_adj = true
[{runc}]
  runtime_type = "io.containerd.runc.v2"
[{runc}.options]
  SystemdCgroup = false
[{cri}.cni]
  bin_dir = "{layout.cni_bin}"
  conf_dir = "{layout.node(node)}/cni"
'''


def cni(layout: Layout, node: str) -> str:
    """Return a node's CNI configuration: Multus, with a bridge for the pods' first interface."""
    ipam = {
        "type": "host-local",
        "dataDir": f"{layout.node(node)}/ipam",
        "ranges": [[{"subnet": addresses.pod_range(node)}]],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": ipam,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    first = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}
    multus = {
        "cniVersion": "0.4.0",
        "name": "multus",
        "type": "multus",
        "kubeconfig": f"{layout.conf}/admin.kubeconfig",
        "cniDir": f"{layout.node(node)}/multus",
        "binDir": str(layout.cni_bin),
        "delegates": [first],
    }
    return _json(multus)


def kubelet(layout: Layout, node: str, cgroup_root: str) -> str:
    """Return a node's KubeletConfiguration."""
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup_root,  # two kubelets in one root would each end the other's pods as orphans
            "containerRuntimeEndpoint": f"unix://{layout.containerd_socket(node)}",
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{layout.pki}/{node}.crt",
            "tlsPrivateKeyFile": f"{layout.pki}/{node}.key",
            "clusterDNS": [addresses.CONTROL],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{layout.conf}/resolv.conf",
            "failSwapOn": False,
            # absolute and small: the machine's disk is shared with whatever else its owner does
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "nodeStatusUpdateFrequency": "5s",
            "syncFrequency": "5s",  # when a changed Secret reaches its mount; the default: a minute or two
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},  # tests kill one container ten times in a minute
            "maxPods": 200,
        }
    )


def corefile(layout: Layout) -> str:
    """Return CoreDNS's configuration: the cluster's names, and the internet's resolver for all others."""
    return f""".:53 {{
  bind {addresses.CONTROL}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {layout.conf}/admin.kubeconfig lanewright
    fallthrough in-addr.arpa
  }}
  forward . {addresses.RESOLVER}
  ready {addresses.CONTROL}:8181
}}
"""


def storage(provisioner: str = "lanewright.dev/volumes") -> list[dict[str, Any]]:
    """Return the class of this provisioner's volumes (ours: `modules/volumes`), as the default one."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "local", "annotations": default},
            "provisioner": provisioner,
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    ]


def dns_service() -> list[dict[str, Any]]:
    """Return a Service without selector that leads to the cluster's DNS, where charts look for it."""
    meta: Mapping[str, Any] = {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    slice_meta = {**meta, "name": "kube-dns-1", "labels": {"kubernetes.io/service-name": "kube-dns"}}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": slice_meta,
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [addresses.CONTROL], "conditions": {"ready": True}}],
        },
    ]


def objects(items: Sequence[Mapping[str, Any]]) -> str:
    """Return Kubernetes objects as one list for `kubectl apply -f -`."""
    return _json({"apiVersion": "v1", "kind": "List", "items": list(items)})


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"
