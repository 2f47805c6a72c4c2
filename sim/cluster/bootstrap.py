"""The state a cluster starts from: nodes, system objects and their running pods.

With ``bootstrap: running`` everything here is in etcd's database at time 0, as after a restore:
no request is spent on it, and every component finds it through its own initial list. With
``join`` the worker nodes and their daemon pods are left out; they arrive through the front door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.base.api_object import APIObject, OwnerReference
from sim.base.objects import (
    DaemonSet,
    Deployment,
    Endpoint,
    Endpoints,
    EndpointSlice,
    Generic,
    LabelSelector,
    Lease,
    Namespace,
    Node,
    Pod,
    PriorityClass,
    ReplicaSet,
    Service,
    ServicePort,
)
from sim.base.pod_template import PodTemplate
from sim.cluster import system_objects
from sim.cluster.addresses import AddressBlock
from sim.cluster.params import ClusterParams, NodePoolParams
from sim.components import registry
from sim.components.controllers.base import safe_hash, template_identity, with_labels
from sim.components.controllers.daemonset import daemon_template
from sim.components.controllers.deployment import HASH_LABEL
from sim.components.controllers.pod_gc import TTL_ANNOTATION, ttl_text
from sim.components.kubelet_nodes import LEASE_NAMESPACE
from sim.workload.object_reader import node_from_manifest
from sim.workload.pod_templates import PodTemplates

CONTROL_PLANE_LABEL = system_objects.CONTROL_PLANE_TAINT


@dataclass(slots=True)
class InitialState:
    """What `bootstrap` made."""

    objects: list[APIObject] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    """Nodes that exist at time 0, control-plane nodes first."""
    joining: list[Node] = field(default_factory=list)
    """Nodes that will register during the run."""
    pods: list[Pod] = field(default_factory=list)
    services: list[APIObject] = field(default_factory=list)
    """Services and EndpointSlices whose rules are installed at time 0."""
    last_uid: int = 0


class Bootstrap:
    """Builds the initial state of one cluster."""

    def __init__(
        self, params: ClusterParams, templates: PodTemplates, worker_manifests: list[dict[str, Any]]
    ) -> None:
        self._params = params
        self._templates = templates
        self._workers = worker_manifests
        self._state = InitialState()
        network = params.network
        self._pod_block = AddressBlock(network.pod_cidr)
        self._second_block = AddressBlock(network.pod_cidr_ipv6) if network.pod_cidr_ipv6 else None
        self._node_block = AddressBlock(network.node_cidr)
        self._service_block = AddressBlock(network.service_cidr)
        self._used_addresses: dict[str, int] = {}
        running_count = params.control_plane.node_count
        if params.nodes.bootstrap == "running":
            running_count += len(worker_manifests)
        self._ttl_annotation = {
            TTL_ANNOTATION: ttl_text(running_count)
        }

    def build(self) -> InitialState:
        """Return the initial state; the same parameters give the same objects and uids."""
        for name in system_objects.SYSTEM_NAMESPACES:
            self._add(Namespace(name=name))
            self._add(Generic(name="default", namespace=name, kind_plural="serviceaccounts"))
            self._add(Generic(name="kube-root-ca.crt", namespace=name))
        for row in system_objects.PRIORITY_CLASSES:
            self._add(PriorityClass(name=str(row["name"]), value=int(str(row["value"]))))
        self._nodes()
        daemons = [
            self._daemon_set(system_objects.kube_proxy_daemon_set()),
            self._daemon_set(system_objects.cni_daemon_set()),
        ]
        for node in self._state.nodes:
            if CONTROL_PLANE_LABEL in node.labels:
                self._static_pods(node)
            for owner, template in daemons:
                self._pod(f"{owner.name}-{_suffix(node.uid)}", template, node, owner)
        self._coredns()
        self._kubernetes_service()
        return self._state

    def _add(self, item: APIObject) -> APIObject:
        state = self._state
        state.last_uid += 1
        registry.prepare_create(item, state.last_uid, 0.0)
        state.objects.append(item)
        return item

    # Nodes.

    def _nodes(self) -> None:
        control = self._params.control_plane
        for index in range(control.node_count):
            manifest = system_objects.node_manifest(
                f"control-plane-{index}",
                cpu_millicores=control.host.core_count * 1000,
                memory_bytes=4 * control.host.core_count * 2**30,
                max_pods_count=self._params.kubelet.max_pods_count,
                cpu_reserved_millicores=0,
                memory_reserved_bytes=100 * 2**20,
                extended_resources={},
                labels={CONTROL_PLANE_LABEL: ""},
                taints=[{"key": CONTROL_PLANE_LABEL, "effect": "NoSchedule"}],
            )
            self._place(node_from_manifest(manifest), running=True)
        running = self._params.nodes.bootstrap == "running"
        for manifest in self._workers:
            self._place(node_from_manifest(manifest), running=running)

    def _place(self, node: Node, *, running: bool) -> None:
        state = self._state
        index = len(state.nodes) + len(state.joining)
        node.internal_ip = self._node_block.address(index + 10)
        if not running:
            state.joining.append(node)
            return
        mask = self._params.network.node_cidr_mask_size
        if index < self._pod_block.subnet_count(mask):
            node.pod_cidr = self._pod_block.subnet(index, mask)
            node.pod_cidrs = (node.pod_cidr,)
            mask, second = self._params.network.node_cidr_mask_size_ipv6, self._second_block
            if second is not None and index < second.subnet_count(mask):
                node.pod_cidrs += (second.subnet(index, mask),)
        node.ready = "True"
        node.ready_reason = "KubeletReady"
        node.ready_transition_seconds = node.heartbeat_seconds = 0.0
        node.backend_annotated = True
        node.annotations = self._ttl_annotation
        self._add(node)
        state.nodes.append(node)
        self._add(
            Lease(name=node.name, namespace=LEASE_NAMESPACE, holder=node.name, renew_seconds=0.0)
        )
        self._add(Generic(name=node.name, kind_plural="csinodes"))

    # Pods.

    def _pod(self, name: str, template: PodTemplate, node: Node, owner: APIObject | None) -> Pod:
        address = node.internal_ip
        if not template.host_network:
            used = self._used_addresses.get(node.name, 1) + 1
            self._used_addresses[node.name] = used
            address = AddressBlock(node.pod_cidr).address(used)
        count = sum(not item.is_init for item in template.containers)
        pod = Pod(
            name=name,
            namespace=template.namespace,
            labels=template.labels,
            template=template,
            owner=_reference(owner),
            node_name=node.name,
            phase="Running",
            ready=True,
            pod_ip=address,
            host_ip=node.internal_ip,
            scheduled_seconds=0.0,
            start_seconds=0.0,
            sandbox_ready=True,
            ready_seconds=0.0,
            ready_container_count=count,
        )
        self._add(pod)
        self._state.pods.append(pod)
        return pod

    def _static_pods(self, node: Node) -> None:
        stacked = self._params.control_plane.etcd_topology == "stacked"
        index = int(node.name.rpartition("-")[2])
        with_etcd = stacked and index < self._params.control_plane.etcd.member_count
        for component in system_objects.static_components(with_etcd=with_etcd):
            manifest = system_objects.static_pod(component, node.name)
            template = self._templates.template(manifest)
            self._pod(manifest["metadata"]["name"], template, node, None)

    def _daemon_set(self, manifest: Mapping[str, Any]) -> tuple[APIObject, PodTemplate]:
        metadata = manifest["metadata"]
        template = self._templates.template(manifest["spec"]["template"], metadata["namespace"])
        count = len(self._state.nodes)
        owner = DaemonSet(
            name=metadata["name"],
            namespace=metadata["namespace"],
            labels=metadata["labels"],
            manifest=manifest,
            selector=_selector(manifest["spec"]["selector"]["matchLabels"]),
            template=template,
            template_hash=template.digest[:10],
            observed_generation=1,
            desired_count=count,
            current_count=count,
            ready_count=count,
            available_count=count,
            updated_count=count,
        )
        self._add(owner)
        revision = safe_hash(template_identity(template))
        self._add(
            Generic(
                name=f"{owner.name}-{revision}",
                namespace=owner.namespace,
                owner=_reference(owner),
                kind_plural="controllerrevisions",
            )
        )
        return owner, daemon_template(template, revision)

    def _coredns(self) -> None:
        replicas = self._params.coredns.replica_count
        manifest = system_objects.coredns_deployment(replicas)
        spec = manifest["spec"]
        template = self._templates.template(spec["template"], "kube-system")
        selector = _selector(spec["selector"]["matchLabels"])
        digest = safe_hash(template_identity(template))
        common: dict[str, Any] = {
            "namespace": "kube-system",
            "labels": manifest["metadata"]["labels"],
            "selector": selector,
            "template": template,
            "template_hash": digest,
            "replica_count": replicas,
            "observed_generation": 1,
            "current_count": replicas,
            "ready_count": replicas,
            "available_count": replicas,
            "updated_count": replicas,
        }
        deployment = Deployment(
            name="coredns", manifest=manifest, max_unavailable="1", revision=1, **common
        )
        self._add(deployment)
        pod_template = with_labels(template, {HASH_LABEL: digest})
        replica_set = ReplicaSet(
            name=f"coredns-{digest}",
            owner=_reference(deployment),
            desired_annotation_count=replicas,
            revision=1,
            **{
                **common,
                "template": pod_template,
                "labels": pod_template.labels,
                "selector": LabelSelector((*selector.match_labels, (HASH_LABEL, digest))),
            },
        )
        self._add(replica_set)
        nodes = [node for node in self._state.nodes if node.pod_cidr]
        pods = [
            self._pod(
                f"{replica_set.name}-{_suffix(1_000_000 + index)}",
                pod_template,
                nodes[index % len(nodes)],
                replica_set,
            )
            for index in range(replicas)
        ]
        self._service(system_objects.kube_dns_service(self._service_block.address(10)), pods)

    def _kubernetes_service(self) -> None:
        manifest = system_objects.kubernetes_service(self._service_block.address(1))
        self._service(manifest, [], [
            node for node in self._state.nodes if CONTROL_PLANE_LABEL in node.labels
        ])  # fmt: skip

    def _service(
        self, manifest: Mapping[str, Any], pods: list[Pod], hosts: list[Node] | None = None
    ) -> None:
        metadata, spec = manifest["metadata"], manifest["spec"]
        selector = spec.get("selector")
        ports = tuple(
            ServicePort(
                item["name"],
                item["port"],
                str(item.get("targetPort", item["port"])),
                item["protocol"],
            )  # fmt: skip
            for item in spec["ports"]
        )
        service = Service(
            name=metadata["name"],
            namespace=metadata["namespace"],
            labels=metadata.get("labels") or {},
            manifest=manifest,
            selector=_selector(selector) if selector else None,
            cluster_ip=spec["clusterIP"],
            ports=ports,
        )
        self._add(service)
        endpoints = [
            Endpoint(pod.pod_ip, pod.node_name, True, True, False, pod.uid, pod.name)
            for pod in pods
        ] + [
            Endpoint(node.internal_ip, node.name, True, True, False, 0, "") for node in hosts or ()
        ]
        piece = EndpointSlice(
            name=service.name if hosts else f"{service.name}-{_suffix(service.uid)}",
            namespace=service.namespace,
            labels={"kubernetes.io/service-name": service.name},
            owner=None if hosts else OwnerReference("Service", service.name, service.uid),
            service_name=service.name,
            endpoints=tuple(endpoints),
            ports=ports,
        )
        self._add(piece)
        self._add(
            Endpoints(
                name=service.name,
                namespace=service.namespace,
                ready_addresses=tuple(item.address for item in endpoints),
            )
        )
        self._state.services += [service, piece]


def pool_manifests(pool: NodePoolParams) -> list[dict[str, Any]]:
    """Return the v1 Nodes of a generated pool."""
    taints = [_taint(text) for text in pool.taints]
    made = []
    for index in range(pool.count):
        labels = dict(pool.labels)
        if pool.zones:
            labels["topology.kubernetes.io/zone"] = pool.zones[index % len(pool.zones)]
        made.append(
            system_objects.node_manifest(
                f"{pool.name}-{index}",
                cpu_millicores=pool.cpu_millicores,
                memory_bytes=pool.memory_bytes,
                max_pods_count=pool.max_pods_count,
                cpu_reserved_millicores=pool.cpu_reserved_millicores,
                memory_reserved_bytes=pool.memory_reserved_bytes,
                extended_resources=dict(pool.extended_resources),
                labels=labels,
                taints=taints,
            )
        )
    return made


def _taint(text: str) -> dict[str, str]:
    key_value, _, effect = text.rpartition(":")
    key, _, value = key_value.partition("=")
    return {"key": key, "value": value, "effect": effect}


def _selector(labels: Mapping[str, str]) -> LabelSelector:
    return LabelSelector(tuple(sorted(labels.items())))


def _reference(owner: APIObject | None) -> OwnerReference | None:
    if owner is None:
        return None
    return OwnerReference(type(owner).__name__, owner.name, owner.uid)


_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def _suffix(number: int) -> str:
    """Return five characters as Kubernetes' name generator uses them, distinct per number."""
    value = (number * 7_919_381 + 104_729) % len(_ALPHABET) ** 5
    text = ""
    for _ in range(5):
        value, digit = divmod(value, len(_ALPHABET))
        text += _ALPHABET[digit]
    return text
