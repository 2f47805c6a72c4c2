"""The fact tables: what the components write down, once, when the last field of a row is known."""

from __future__ import annotations

from typing import Final

from sim.engine.tables import Column, TableSpec

_TIME: Final = Column("time_seconds", "f8", "when it happened, simulated seconds")

REQUESTS: Final = TableSpec(
    "requests",
    "one API request, from submission by its client to the arrival of the response",
    (
        Column("time_seconds", "f8", "submission by the client"),
        Column("verb", "text", "get list create update patch delete deletecollection watch"),
        Column("resource", "text", "plural resource name"),
        Column("subresource", "text", "status, binding, token … or empty"),
        Column("scope", "text", "resource, namespace or cluster"),
        Column("user", "text", "client identity; fleets share one"),
        Column("priority_level", "text", "API priority level"),
        Column("replica", "i4", "index of the apiserver replica"),
        Column("code", "i4", "HTTP status"),
        Column("limiter_seconds", "f8", "wait for the client's own token bucket"),
        Column("queue_seconds", "f8", "wait in priority and fairness queues"),
        Column("server_seconds", "f8", "arrival at the server to end of response, waits included"),
        Column("total_seconds", "f8", "submission to arrival of the response at the client"),
        Column("response_bytes", "i8", "size of the response body"),
    ),
    shared=(
        "verb", "resource", "subresource", "scope", "user", "priority_level", "replica", "code",
    ),  # fmt: skip
)
ETCD_COMMITS: Final = TableSpec(
    "etcd_commits",
    "one raft batch of the leader: appended, synced, committed, applied",
    (
        Column("time_seconds", "f8", "start of the WAL append"),
        Column("entry_count", "i4", "proposals in the batch"),
        Column("batch_bytes", "i8", "bytes appended to the WAL"),
        Column("fsync_seconds", "f8", "duration of the leader's WAL fsync"),
        Column("commit_seconds", "f8", "append to quorum"),
        Column("apply_seconds", "f8", "quorum to end of apply, stalls included"),
        Column("member", "i4", "index of the leader"),
    ),
)
ETCD_BACKEND_COMMITS: Final = TableSpec(
    "etcd_backend_commits",
    "one commit of the backend database (bbolt)",
    (
        _TIME,
        Column("member", "i4", "index of the member"),
        Column("put_count", "i4", "puts in the commit"),
        Column("duration_seconds", "f8", "time the batch transaction was locked"),
        Column("database_bytes", "i8", "size of the database after it"),
    ),
)
SCHEDULING_ATTEMPTS: Final = TableSpec(
    "scheduling_attempts",
    "one scheduling cycle",
    (
        Column("time_seconds", "f8", "start of the cycle (pop)"),
        Column("pod_uid", "i8", "uid of the pod"),
        Column("profile", "text", "scheduler name"),
        Column("queue_seconds", "f8", "time in the active queue before the pop"),
        Column("cycle_seconds", "f8", "duration of the scheduling cycle (algorithm)"),
        Column("evaluated_nodes", "i4", "nodes examined"),
        Column("feasible_nodes", "i4", "nodes that passed the filters"),
        Column("attempt_count", "i4", "which attempt of this pod"),
        Column("result", "text", "scheduled, unschedulable or error"),
        Column("plugin", "text", "first plugin that rejected, empty if scheduled"),
        Column("node_name", "text", "chosen or nominated node"),
    ),
)
BINDINGS: Final = TableSpec(
    "bindings",
    "one binding cycle",
    (
        Column("time_seconds", "f8", "start of the binding cycle"),
        Column("pod_uid", "i8", "uid of the pod"),
        Column("duration_seconds", "f8", "until the response to POST binding, limiter included"),
        Column("code", "i4", "HTTP status of POST binding"),
        Column("e2e_seconds", "f8", "first enqueue to bound, all attempts"),
    ),
)
PODS: Final = TableSpec(
    "pods",
    "one pod, written when it is created",
    (
        Column("time_seconds", "f8", "creation"),
        Column("pod_uid", "i8", "uid"),
        Column("namespace", "text", "namespace"),
        Column("name", "text", "name"),
        Column("owner_kind", "text", "kind of the controlling owner, empty if none"),
        Column("owner_name", "text", "name of the controlling owner"),
        Column("container_count", "i4", "containers that are not init containers"),
        Column("cpu_requested_millicores", "i8", "effective request"),
        Column("memory_requested_bytes", "i8", "effective request"),
        Column("priority", "i8", "priority"),
        Column("labels", "text", "labels, written key=value,…"),
    ),
)
POD_TRANSITIONS: Final = TableSpec(
    "pod_transitions",
    "one step in the life of a pod",
    (
        _TIME,
        Column("pod_uid", "i8", "uid"),
        Column(
            "transition",
            "text",
            "created, scheduled (bound in etcd), observed (by its kubelet), volumes_mounted,"
            " sandbox_created, network_ready, images_pulled, containers_started,"
            " running (status committed), ready (status committed), in_endpoint_slice,"
            " programmed_50, programmed_99, programmed_100 (share of nodes whose kube-proxy routes"
            " to it), deleting, stopped, succeeded, failed, deleted",
        ),
        Column("detail", "text", "node name, pod IP or reason, depending on the transition"),
    ),
)
NODE_TRANSITIONS: Final = TableSpec(
    "node_transitions",
    "one step in the life of a node: joining, readiness, what the other nodes know of it",
    (
        _TIME,
        Column("node_name", "text", "name of the Node"),
        Column(
            "transition",
            "text",
            "registered, cidr_allocated, agent_started (of the overlay), reaches_all (it has the"
            " entries of all other nodes), programmed_50, programmed_99, programmed_100 (share of"
            " the other nodes that have its overlay entries), ready, not_ready, unknown (its"
            " heartbeats stopped), cordoned, uncordoned, deleted",
        ),
        Column("detail", "text", "range, or number of other nodes, depending on the transition"),
    ),
)
OBJECTS: Final = TableSpec(
    "objects",
    "one commit of an object that people list: nodes, services, endpointslices, workloads",
    (
        _TIME,
        Column("resource", "text", "plural resource name"),
        Column("namespace", "text", "namespace"),
        Column("name", "text", "name"),
        Column("type", "text", "ADDED, MODIFIED or DELETED"),
        Column("detail", "text", "canonical JSON of what kubectl shows in its columns"),
        Column("labels", "text", "labels, written key=value,…"),
    ),
)
EVENTS: Final = TableSpec(
    "events",
    "one write of an Event object",
    (
        _TIME,
        Column("namespace", "text", "namespace"),
        Column("type", "text", "Normal or Warning"),
        Column("reason", "text", "reason"),
        Column("involved_kind", "text", "kind of the object it is about"),
        Column("involved_name", "text", "name of the object it is about"),
        Column("source", "text", "reporting component"),
        Column("count", "i4", "occurrences so far"),
        Column("message", "text", "message"),
    ),
)
WATCH_DELIVERIES: Final = TableSpec(
    "watch_deliveries",
    "the fan-out of one batch of events of one resource by one replica",
    (
        Column("time_seconds", "f8", "commit in etcd of the newest event"),
        Column("resource", "text", "plural resource name"),
        Column("replica", "i4", "index of the apiserver replica"),
        Column("event_count", "i4", "events in the batch"),
        Column("delivery_count", "i8", "events × watchers that received them"),
        Column("cache_seconds", "f8", "commit to watch cache"),
        Column("first_seconds", "f8", "commit to the first watcher's receipt"),
        Column("last_seconds", "f8", "commit to the last watcher's receipt"),
    ),
    shared=("resource", "replica", "event_count", "delivery_count"),
)
PROXY_SYNCS: Final = TableSpec(
    "proxy_syncs",
    "one round of rule updates by the kube-proxy fleet (nodes that sync for the same change)",
    (
        Column("time_seconds", "f8", "first node's start"),
        Column("node_count", "i4", "nodes in the round"),
        Column("kind", "text", "initial_full, full or partial"),
        Column("changed_service_count", "i4", "services changed (mean over nodes)"),
        Column("sync_seconds_p50", "f8", "median duration over the nodes"),
        Column("sync_seconds_max", "f8", "longest duration over the nodes"),
        Column("service_count", "i4", "services known"),
        Column("endpoint_count", "i4", "endpoints known"),
    ),
)
NETWORK_PROGRAMMING: Final = TableSpec(
    "network_programming",
    "one EndpointSlice change until it is programmed, over all nodes",
    (
        Column("time_seconds", "f8", "trigger time (earliest ready transition in the change)"),
        Column("namespace", "text", "namespace of the Service"),
        Column("service", "text", "name of the Service"),
        Column("committed_seconds", "f8", "trigger to commit of the slice"),
        Column("programmed_seconds_p50", "f8", "trigger until half of the nodes have it"),
        Column("programmed_seconds_p99", "f8", "trigger until 99 % of the nodes have it"),
        Column("programmed_seconds_max", "f8", "trigger until every node has it"),
        Column("node_count", "i4", "nodes"),
    ),
)
CONTROLLER_SYNCS: Final = TableSpec(
    "controller_syncs",
    "one sync of one key by a controller worker",
    (
        Column("time_seconds", "f8", "start of the sync"),
        Column("controller", "text", "controller name"),
        Column("queue_seconds", "f8", "time of the key in the workqueue"),
        Column("duration_seconds", "f8", "duration of the sync"),
        Column("result", "text", "ok, requeued or error"),
    ),
)
IMAGE_PULLS: Final = TableSpec(
    "image_pulls",
    "one image pull of one node",
    (
        Column("time_seconds", "f8", "request by the kubelet"),
        Column("node_name", "text", "node"),
        Column("image", "text", "image"),
        Column("queue_seconds", "f8", "wait for the node's pull slot"),
        Column("duration_seconds", "f8", "download and unpack"),
        Column("pulled_bytes", "i8", "bytes fetched (layers not on the node)"),
        Column("result", "text", "pulled, present, qps_exceeded or error"),
    ),
)
DNS_QUERIES: Final = TableSpec(
    "dns_queries",
    "queries answered by CoreDNS in one interval",
    (
        _TIME,
        Column("query_count", "i8", "queries, search-list amplification included"),
        Column("latency_seconds_mean", "f8", "mean time in CoreDNS"),
        Column("utilization_ratio", "f8", "load over capacity"),
    ),
)
REACHABILITY: Final = TableSpec(
    "reachability",
    "one look of the workload at who reaches a pod, the pods of a node, or a Service",
    (
        _TIME,
        Column("source", "text", "node/NAME, pod/NAMESPACE/NAME or all nodes"),
        Column("target", "text", "node/NAME, pod/NAMESPACE/NAME or service/NAMESPACE/NAME"),
        Column("asked_count", "i4", "nodes asked"),
        Column("reached_count", "i4", "nodes from which the target is reached"),
    ),
)
FAULTS: Final = TableSpec(
    "faults",
    "one fault, recovery or limit reached",
    (
        _TIME,
        Column("component", "text", "where"),
        Column("what", "text", "what happened"),
        Column("detail", "text", "circumstances"),
    ),
)
GAUGES: Final = TableSpec(
    "gauges",
    "state sampled once per interval by the run itself (reads counters, spends nothing)",
    (
        _TIME,
        Column("gauge", "text", "what is measured"),
        Column("instance", "text", "host, limiter, queue … it belongs to"),
        Column("value", "f8", "value; unit is the gauge's last word"),
    ),
)

ALL: tuple[TableSpec, ...] = (
    REQUESTS,
    ETCD_COMMITS,
    ETCD_BACKEND_COMMITS,
    SCHEDULING_ATTEMPTS,
    BINDINGS,
    PODS,
    POD_TRANSITIONS,
    NODE_TRANSITIONS,
    OBJECTS,
    EVENTS,
    WATCH_DELIVERIES,
    PROXY_SYNCS,
    NETWORK_PROGRAMMING,
    CONTROLLER_SYNCS,
    IMAGE_PULLS,
    DNS_QUERIES,
    REACHABILITY,
    FAULTS,
    GAUGES,
)
