"""The objects every kubeadm-like cluster starts with, as the manifests a person would apply.

**Source:** requests and priorities of kubeadm's static pods and add-ons (v1.36), flannel's
manifest; sizes follow from the kinds.
"""

from __future__ import annotations

from typing import Any

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

PRIORITY_CLASSES = (
    {"name": "system-node-critical", "value": 2000001000},
    {"name": "system-cluster-critical", "value": 2000000000},
)

CONTROL_PLANE_TAINT = "node-role.kubernetes.io/control-plane"

_STATIC_PODS: dict[str, tuple[str, str, str]] = {
    "etcd": ("registry.k8s.io/etcd:3.6.8-0", "100m", "100Mi"),
    "kube-apiserver": ("registry.k8s.io/kube-apiserver:v1.36.2", "250m", "0"),
    "kube-controller-manager": (
        "registry.k8s.io/kube-controller-manager:v1.36.2",
        "200m",
        "0",
    ),
    "kube-scheduler": ("registry.k8s.io/kube-scheduler:v1.36.2", "100m", "0"),
}
"""component → image, CPU request, memory request."""


def static_pod(component: str, node_name: str) -> dict[str, Any]:
    """Return the mirror pod of a control-plane component on one node."""
    image, cpu, memory = _STATIC_PODS[component]
    requests = {"cpu": cpu} if memory == "0" else {"cpu": cpu, "memory": memory}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{component}-{node_name}",
            "namespace": "kube-system",
            "labels": {"component": component, "tier": "control-plane"},
        },
        "spec": {
            "nodeName": node_name,
            "hostNetwork": True,
            "priorityClassName": "system-node-critical",
            "priority": 2000001000,
            "automountServiceAccountToken": False,
            "containers": [
                {"name": component, "image": image, "resources": {"requests": requests}}
            ],
            "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
        },
    }


def static_components(*, with_etcd: bool) -> tuple[str, ...]:
    """Return the components that run as static pods on a control-plane node."""
    names = tuple(_STATIC_PODS)
    return names if with_etcd else tuple(name for name in names if name != "etcd")


def _daemon_set(
    name: str, image: str, labels: dict[str, str], requests: dict[str, str]
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "priorityClassName": "system-node-critical",
                    "priority": 2000001000,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [
                        {"name": name, "image": image, "resources": {"requests": requests}}
                    ],
                },
            },
        },
    }


def kube_proxy_daemon_set() -> dict[str, Any]:
    """Return kube-proxy's DaemonSet."""
    return _daemon_set(
        "kube-proxy", "registry.k8s.io/kube-proxy:v1.36.2", {"k8s-app": "kube-proxy"}, {}
    )


def cni_daemon_set() -> dict[str, Any]:
    """Return the overlay agent's DaemonSet (flannel's requests)."""
    return _daemon_set(
        "kube-flannel-ds",
        "ghcr.io/flannel-io/flannel:v0.27.4",
        {"app": "flannel", "tier": "node"},
        {"cpu": "100m", "memory": "50Mi"},
    )


def coredns_deployment(replica_count: int) -> dict[str, Any]:
    """Return CoreDNS's Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "coredns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns"},
        },
        "spec": {
            "replicas": replica_count,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "priorityClassName": "system-cluster-critical",
                    "priority": 2000000000,
                    "tolerations": [
                        {"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"key": CONTROL_PLANE_TAINT, "effect": "NoSchedule"},
                    ],
                    "containers": [
                        {
                            "name": "coredns",
                            "image": "registry.k8s.io/coredns/coredns:v1.14.2",
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "70Mi"},
                                "limits": {"memory": "170Mi"},
                            },
                            "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}],
                            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}},
                        }
                    ],
                },
            },
        },
    }


def kube_dns_service(cluster_ip: str) -> dict[str, Any]:
    """Return the kube-dns Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns"},
        },
        "spec": {
            "selector": {"k8s-app": "kube-dns"},
            "clusterIP": cluster_ip,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
            ],
        },
    }


def kubernetes_service(cluster_ip: str) -> dict[str, Any]:
    """Return the apiserver's own Service (without a selector)."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {
            "clusterIP": cluster_ip,
            "ports": [{"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}],
        },
    }


def node_manifest(
    name: str,
    *,
    cpu_millicores: int,
    memory_bytes: int,
    max_pods_count: int,
    cpu_reserved_millicores: int,
    memory_reserved_bytes: int,
    extended_resources: dict[str, int],
    labels: dict[str, str],
    taints: list[dict[str, str]],
) -> dict[str, Any]:
    """Return a v1 Node with capacity, allocatable and labels as a kubelet registers it."""
    capacity = {
        "cpu": f"{cpu_millicores}m",
        "memory": f"{memory_bytes}",
        "pods": f"{max_pods_count}",
        **{key: f"{value}" for key, value in extended_resources.items()},
    }
    allocatable = {
        **capacity,
        "cpu": f"{cpu_millicores - cpu_reserved_millicores}m",
        "memory": f"{memory_bytes - memory_reserved_bytes}",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                **labels,
            },
        },
        "spec": {"taints": taints} if taints else {},
        "status": {"capacity": capacity, "allocatable": allocatable},
    }
