"""Every published metric, once: name, kind, unit, labels, buckets and the facts it comes from.

Names, labels and bucket edges are Kubernetes v1.36's and etcd 3.6's own. **Source:** the measured
Prometheus dumps of the four control-plane components (``groundtruth/metrics``) for what they
expose; kubelet, kube-proxy and CoreDNS names from their upstream metric definitions. Upstream
labels that the model has no value for (group, version, component, dry_run …) are left out. Whatever
upstream lacks is called ``sim_…``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
RATIO: Final = "ratio"
"""A share of rows: values are 0 or 1 (k6 calls this a rate)."""


def _exponential(start: float, factor: float, count: int) -> tuple[float, ...]:
    """Return edges as upstream computes them: by repeated multiplication."""
    edges = [start]
    for _ in range(count - 1):
        edges.append(edges[-1] * factor)
    return tuple(edges)


_REQUEST = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0,
            8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)  # fmt: skip
_SLI = _REQUEST[2:]
_FLOWCONTROL = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_REST_CLIENT = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_ETCD_DISK = _exponential(0.001, 2.0, 14)
_ETCD_APPLY = _exponential(0.0001, 2.0, 20)
_SCHEDULER = _exponential(0.001, 2.0, 15)
_SCHEDULER_SLI = _exponential(0.01, 2.0, 20)
_WORKQUEUE = _exponential(1e-8, 10.0, 10)
_POD_START = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0,
              240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0)  # fmt: skip
_IMAGE_PULL = (1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 180.0, 300.0, 600.0, 900.0, 1200.0, 1800.0,
               2700.0, 3600.0)  # fmt: skip
_PROXY_SYNC = _exponential(0.001, 2.0, 15)
_NETWORK_PROGRAMMING = (
    0.25, 0.5, *(float(edge) for edge in range(1, 60)),
    *(float(edge) for edge in range(60, 120, 5)), *(float(edge) for edge in range(120, 330, 30)),
)  # fmt: skip
_RESPONSE_SIZES = _exponential(1000.0, 10.0, 7)
_WATCH = _exponential(0.0001, 2.0, 20)
_COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric and how it follows from a fact table."""

    name: str
    kind: str
    unit: str
    """seconds, bytes, pods, requests … ; one per metric."""
    help: str
    job: str
    """Prometheus job that exposes it upstream; ``kubesim`` for our own."""
    table: str = ""
    value: str = ""
    """Column of the value; for counters the increment, empty for one per row."""
    time: str = "time_seconds"
    """Column of the time at which the observation is made."""
    labels: tuple[tuple[str, str], ...] = ()
    """(label, column) pairs."""
    where: str = ""
    """Filter on the rows, empty for all."""
    buckets: tuple[float, ...] = ()
    special: str = ""
    """Name of a derivation that is more than columns of one table."""

    @property
    def is_upstream(self) -> bool:
        """Whether Kubernetes or etcd publishes a metric of this name."""
        return not self.name.startswith("sim_")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Label names in order."""
        return tuple(name for name, _ in self.labels)


_REQUEST_LABELS = (
    ("verb", "http_verb"), ("resource", "resource"), ("subresource", "subresource"),
    ("scope", "scope"),
)  # fmt: skip
_PRIORITY_LEVEL = (("priority_level", "priority_level"),)
_MEMBER = (("instance", "instance"),)
_CONTROLLER = (("name", "controller"),)
_RESOURCE = (("resource", "resource"),)
_STARTUP = "startup"

_API = (
    Metric(name="apiserver_request_total", kind=COUNTER, unit="requests", job="kube-apiserver",
           help="API requests answered, by verb, resource, scope and status.",
           table="requests", time="end_seconds", labels=(*_REQUEST_LABELS, ("code", "code"))),
    Metric(name="apiserver_request_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-apiserver", buckets=_REQUEST, where="not_watch",
           help="Response latency in the apiserver, all waits included; watches left out.",
           table="requests", value="server_seconds", time="end_seconds", labels=_REQUEST_LABELS),
    Metric(name="apiserver_request_sli_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-apiserver", buckets=_SLI, where="not_watch",
           help="Response latency in the apiserver without the wait in priority and fairness.",
           table="requests", value="sli_seconds", time="end_seconds", labels=_REQUEST_LABELS),
    Metric(name="apiserver_response_sizes", kind=HISTOGRAM, unit="bytes", job="kube-apiserver",
           help="Response sizes of GET and LIST.", buckets=_RESPONSE_SIZES, where="readonly",
           table="requests", value="response_bytes", time="end_seconds", labels=_REQUEST_LABELS),
    Metric(name="apiserver_flowcontrol_dispatched_requests_total", kind=COUNTER, unit="requests",
           job="kube-apiserver", help="Requests that priority and fairness let through.",
           table="requests", time="end_seconds", labels=_PRIORITY_LEVEL, where="dispatched"),
    Metric(name="apiserver_flowcontrol_rejected_requests_total", kind=COUNTER, unit="requests",
           job="kube-apiserver", help="Requests answered 429.",
           table="requests", time="end_seconds", labels=_PRIORITY_LEVEL, where="rejected"),
    Metric(name="apiserver_flowcontrol_request_wait_duration_seconds", kind=HISTOGRAM,
           unit="seconds", job="kube-apiserver", buckets=_FLOWCONTROL,
           help="Wait in the queues of priority and fairness.", table="requests",
           value="queue_seconds", time="end_seconds",
           labels=(*_PRIORITY_LEVEL, ("execute", "execute"))),
    Metric(name="apiserver_flowcontrol_request_execution_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-apiserver", buckets=_FLOWCONTROL, where="dispatched",
           help="Time from dispatch to the end of the response.", table="requests",
           value="sli_seconds", time="end_seconds", labels=_PRIORITY_LEVEL),
    Metric(name="apiserver_watch_events_total", kind=COUNTER, unit="events", job="kube-apiserver",
           help="Events sent to watchers.", table="watch_deliveries", value="delivery_count",
           time="end_seconds", labels=_RESOURCE),
    Metric(name="apiserver_watch_cache_events_dispatched_total", kind=COUNTER, unit="events",
           job="kube-apiserver", help="Events taken into the watch cache and dispatched.",
           table="watch_deliveries", value="event_count", time="end_seconds", labels=_RESOURCE),
    Metric(name="rest_client_requests_total", kind=COUNTER, unit="requests", job="",
           help="Requests by client, status and verb.", table="requests", time="end_seconds",
           labels=(("job", "job"), ("code", "code"), ("method", "http_verb"))),
    Metric(name="rest_client_request_duration_seconds", kind=HISTOGRAM, unit="seconds", job="",
           help="Request latency seen by the client, after its own limiter.",
           buckets=_REST_CLIENT, where="not_watch", table="requests",
           value="after_limiter_seconds", time="end_seconds",
           labels=(("job", "job"), ("verb", "http_verb"))),
    Metric(name="rest_client_rate_limiter_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="", help="Wait for the client's own token bucket.", buckets=_REST_CLIENT,
           table="requests", value="limiter_seconds", time="end_seconds",
           labels=(("job", "job"), ("verb", "http_verb"))),
    Metric(name="sim_request_total_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Submission by the client to arrival of the response.",
           buckets=_REQUEST, where="not_watch", table="requests", value="total_seconds",
           time="end_seconds", labels=(("verb", "http_verb"), ("resource", "resource"))),
    Metric(name="sim_request_failed_ratio", kind=RATIO, unit="ratio", job="kubesim",
           help="Share of requests answered 429 or 5xx, or never.", table="requests",
           value="failed_ratio", time="end_seconds", labels=()),
    Metric(name="sim_apiserver_requests_total", kind=COUNTER, unit="requests", job="kubesim",
           help="Requests answered by each apiserver replica.", table="requests",
           time="end_seconds", labels=(("instance", "instance"),)),
    Metric(name="sim_watch_cache_delay_seconds", kind=HISTOGRAM, unit="seconds", job="kubesim",
           help="Commit in etcd to the watch cache.", buckets=_WATCH, table="watch_deliveries",
           value="cache_seconds", labels=_RESOURCE),
    Metric(name="sim_watch_first_delivery_seconds", kind=HISTOGRAM, unit="seconds", job="kubesim",
           help="Commit in etcd to the first watcher's receipt.", buckets=_WATCH,
           table="watch_deliveries", value="first_seconds", labels=_RESOURCE),
    Metric(name="sim_watch_last_delivery_seconds", kind=HISTOGRAM, unit="seconds", job="kubesim",
           help="Commit in etcd to the last watcher's receipt.", buckets=_WATCH,
           table="watch_deliveries", value="last_seconds", time="end_seconds", labels=_RESOURCE),
)  # fmt: skip

_ETCD = (
    Metric(name="etcd_disk_wal_fsync_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="etcd", help="WAL fsync of the leader.", buckets=_ETCD_DISK, table="etcd_commits",
           value="fsync_seconds", time="synced_seconds", labels=_MEMBER),
    Metric(name="etcd_disk_wal_write_bytes_total", kind=COUNTER, unit="bytes", job="etcd",
           help="Bytes written to the leader's WAL.", table="etcd_commits", value="batch_bytes",
           time="synced_seconds", labels=_MEMBER),
    Metric(name="etcd_server_proposals_committed_total", kind=COUNTER, unit="proposals",
           job="etcd", help="Proposals committed.", table="etcd_commits", value="entry_count",
           time="end_seconds", labels=_MEMBER),
    Metric(name="etcd_disk_backend_commit_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="etcd", help="Commit of the backend database.", buckets=_ETCD_DISK,
           table="etcd_backend_commits", value="duration_seconds", labels=_MEMBER),
    Metric(name="etcd_mvcc_put_total", kind=COUNTER, unit="puts", job="etcd",
           help="Puts written to the backend.", table="etcd_backend_commits", value="put_count",
           labels=_MEMBER),
    Metric(name="etcd_mvcc_db_total_size_in_bytes", kind=GAUGE, unit="bytes", job="etcd",
           help="Size of the backend database.", table="etcd_backend_commits",
           value="database_bytes", labels=_MEMBER),
    Metric(name="sim_etcd_commit_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="WAL append to quorum, per batch.", buckets=_ETCD_DISK,
           table="etcd_commits", value="commit_seconds", time="end_seconds", labels=_MEMBER),
    Metric(name="sim_etcd_apply_duration_seconds", kind=HISTOGRAM, unit="seconds", job="kubesim",
           help="Quorum to end of apply, per batch.", buckets=_ETCD_APPLY, table="etcd_commits",
           value="apply_seconds", time="end_seconds", labels=_MEMBER),
    Metric(name="sim_etcd_batch_entries", kind=HISTOGRAM, unit="proposals", job="kubesim",
           help="Proposals per WAL fsync.", buckets=_COUNTS, table="etcd_commits",
           value="entry_count", time="end_seconds", labels=_MEMBER),
)  # fmt: skip

_PROFILE = (("profile", "profile"),)
_SCHEDULER_METRICS = (
    Metric(name="scheduler_schedule_attempts_total", kind=COUNTER, unit="attempts",
           job="kube-scheduler", help="Attempts by result.", table="scheduling_attempts",
           time="cycle_end_seconds", labels=(("result", "result"), *_PROFILE)),
    Metric(name="scheduler_scheduling_attempt_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-scheduler", help="Scheduling attempt: algorithm and binding.",
           buckets=_SCHEDULER, table="scheduling_attempts", value="attempt_seconds",
           time="end_seconds", labels=(("result", "result"), *_PROFILE)),
    Metric(name="scheduler_scheduling_algorithm_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-scheduler", help="Scheduling cycle of attempts that found a node.",
           buckets=_SCHEDULER, table="scheduling_attempts", value="cycle_seconds",
           time="cycle_end_seconds", where="scheduled"),
    Metric(name="scheduler_pod_scheduling_sli_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-scheduler", help="First enqueue to bound, over all attempts of the pod.",
           buckets=_SCHEDULER_SLI, table="bindings", value="e2e_seconds", time="end_seconds",
           labels=(("attempts", "attempts"),), where="bound"),
    Metric(name="scheduler_pod_scheduling_attempts", kind=HISTOGRAM, unit="attempts",
           job="kube-scheduler", help="Attempts until the pod was bound.",
           buckets=(1.0, 2.0, 4.0, 8.0, 16.0), table="bindings", value="attempts_count",
           time="end_seconds", where="bound"),
    Metric(name="sim_scheduling_throughput_pods_per_second", kind=GAUGE, unit="pods/s",
           job="kubesim", help="Pods bound per second, sampled every second between the first and"
           " the last binding.", special="throughput"),
    Metric(name="sim_binding_duration_seconds", kind=HISTOGRAM, unit="seconds", job="kubesim",
           help="Binding cycle until the answer to POST binding, limiter included.",
           buckets=_SCHEDULER_SLI, table="bindings", value="duration_seconds", time="end_seconds",
           labels=(("code", "code"),)),
    Metric(name="sim_scheduler_queue_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Time in the active queue before the pop.",
           buckets=_SCHEDULER_SLI, table="scheduling_attempts", value="queue_seconds"),
    Metric(name="sim_scheduler_evaluated_nodes", kind=HISTOGRAM, unit="nodes", job="kubesim",
           help="Nodes examined per attempt.", buckets=_COUNTS, table="scheduling_attempts",
           value="evaluated_nodes", time="cycle_end_seconds"),
    Metric(name="sim_scheduler_feasible_nodes", kind=HISTOGRAM, unit="nodes", job="kubesim",
           help="Nodes that passed the filters per attempt.", buckets=_COUNTS,
           table="scheduling_attempts", value="feasible_nodes", time="cycle_end_seconds"),
    Metric(name="sim_scheduler_rejections_total", kind=COUNTER, unit="attempts", job="kubesim",
           help="Attempts without a node, by the first plugin that rejected.",
           table="scheduling_attempts", time="cycle_end_seconds", labels=(("plugin", "plugin"),),
           where="rejected_by_plugin"),
)  # fmt: skip

_CONTROLLERS = (
    Metric(name="workqueue_adds_total", kind=COUNTER, unit="keys", job="kube-controller-manager",
           help="Keys taken from the workqueue.", table="controller_syncs", labels=_CONTROLLER),
    Metric(name="workqueue_queue_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-controller-manager", help="Time of a key in the workqueue.",
           buckets=_WORKQUEUE, table="controller_syncs", value="queue_seconds",
           labels=_CONTROLLER),
    Metric(name="workqueue_work_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-controller-manager", help="Duration of the sync of a key.",
           buckets=_WORKQUEUE, table="controller_syncs", value="duration_seconds",
           time="end_seconds", labels=_CONTROLLER),
    Metric(name="workqueue_retries_total", kind=COUNTER, unit="keys",
           job="kube-controller-manager", help="Syncs that ended in a requeue or an error.",
           table="controller_syncs", time="end_seconds", labels=_CONTROLLER, where="not_ok"),
)  # fmt: skip

_KUBELET = (
    Metric(name="kubelet_pod_start_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubelet", help="Kubelet sees the pod to the pod running.", buckets=_POD_START,
           special=_STARTUP, value="kubelet_seconds"),
    Metric(name="kubelet_pod_start_sli_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubelet", help="Creation to running, image pulls excluded.", buckets=_POD_START,
           special=_STARTUP, value="sli_seconds"),
    Metric(name="kubelet_pod_start_total_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubelet", help="Creation to running, image pulls included.", buckets=_POD_START,
           special=_STARTUP, value="total_seconds"),
    Metric(name="kubelet_image_pull_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubelet", help="Download and unpacking of images that were not on the node.",
           buckets=_IMAGE_PULL, table="image_pulls", value="duration_seconds", time="end_seconds",
           where="fetched"),
    Metric(name="sim_image_pulls_total", kind=COUNTER, unit="pulls", job="kubesim",
           help="Image pulls by result.", table="image_pulls", time="end_seconds",
           labels=(("result", "result"),)),
    Metric(name="sim_image_pull_queue_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Wait for the node's pull slot.", buckets=_IMAGE_PULL,
           table="image_pulls", value="queue_seconds", time="end_seconds"),
    Metric(name="sim_image_pulled_bytes_total", kind=COUNTER, unit="bytes", job="kubesim",
           help="Bytes fetched from registries.", table="image_pulls", value="pulled_bytes",
           time="end_seconds"),
    Metric(name="sim_pod_startup_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Creation to ready as the user sees it, pulls included.",
           buckets=_POD_START, special=_STARTUP, value="ready_seconds"),
    Metric(name="sim_pod_startup_phase_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Duration of each phase of pod start-up.", buckets=_POD_START,
           special="phases", labels=(("phase", "phase"),)),
    Metric(name="sim_pods_total", kind=COUNTER, unit="pods", job="kubesim",
           help="Pods created, by kind of the owner.", table="pods",
           labels=(("owner_kind", "owner_kind"), ("namespace", "namespace"))),
    Metric(name="sim_pod_transitions_total", kind=COUNTER, unit="pods", job="kubesim",
           help="Pods that reached each step of their life.", table="pod_transitions",
           labels=(("transition", "transition"),)),
)  # fmt: skip

_NETWORK = (
    Metric(name="kubeproxy_sync_proxy_rules_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-proxy", help="Sync of the median node, one observation per round.",
           buckets=_PROXY_SYNC, table="proxy_syncs", value="sync_seconds_p50",
           time="end_seconds"),
    Metric(name="kubeproxy_sync_full_proxy_rules_duration_seconds", kind=HISTOGRAM,
           unit="seconds", job="kube-proxy", help="The same, full syncs.", buckets=_PROXY_SYNC,
           table="proxy_syncs", value="sync_seconds_p50", time="end_seconds", where="full"),
    Metric(name="kubeproxy_sync_partial_proxy_rules_duration_seconds", kind=HISTOGRAM,
           unit="seconds", job="kube-proxy", help="The same, partial syncs.",
           buckets=_PROXY_SYNC, table="proxy_syncs", value="sync_seconds_p50",
           time="end_seconds", where="partial"),
    Metric(name="sim_proxy_sync_max_seconds", kind=HISTOGRAM, unit="seconds", job="kubesim",
           help="Sync of the slowest node of a round.", buckets=_PROXY_SYNC, table="proxy_syncs",
           value="sync_seconds_max", time="end_seconds", labels=(("kind", "kind"),)),
    Metric(name="sim_proxy_node_syncs_total", kind=COUNTER, unit="syncs", job="kubesim",
           help="Syncs summed over the nodes.", table="proxy_syncs", value="node_count",
           time="end_seconds", labels=(("kind", "kind"),)),
    Metric(name="sim_proxy_services", kind=GAUGE, unit="services", job="kubesim",
           help="Services known to the proxies.", table="proxy_syncs", value="service_count",
           time="end_seconds"),
    Metric(name="sim_proxy_endpoints", kind=GAUGE, unit="endpoints", job="kubesim",
           help="Endpoints known to the proxies.", table="proxy_syncs", value="endpoint_count",
           time="end_seconds"),
    Metric(name="kubeproxy_network_programming_duration_seconds", kind=HISTOGRAM, unit="seconds",
           job="kube-proxy", help="Endpoint change until 99 % of the nodes have programmed it,"
           " one observation per change.", buckets=_NETWORK_PROGRAMMING,
           table="network_programming", value="programmed_seconds_p99", time="end_seconds"),
    Metric(name="sim_network_programming_half_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Endpoint change until half of the nodes have it.",
           buckets=_NETWORK_PROGRAMMING, table="network_programming",
           value="programmed_seconds_p50", time="end_seconds"),
    Metric(name="sim_network_programming_all_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Endpoint change until every node has it.",
           buckets=_NETWORK_PROGRAMMING, table="network_programming",
           value="programmed_seconds_max", time="end_seconds"),
    Metric(name="sim_endpointslice_commit_seconds", kind=HISTOGRAM, unit="seconds",
           job="kubesim", help="Endpoint change to the commit of its slice.",
           buckets=_NETWORK_PROGRAMMING, table="network_programming", value="committed_seconds",
           time="end_seconds"),
    Metric(name="sim_node_join_seconds", kind=HISTOGRAM, unit="seconds", job="kubesim",
           help="Registration of a node until each later step: range, overlay agent, Ready, its"
           " entries on half, 99 % and all of the other nodes.", buckets=_NETWORK_PROGRAMMING,
           special="node_join", labels=(("step", "step"),)),
    Metric(name="sim_node_transitions_total", kind=COUNTER, unit="nodes", job="kubesim",
           help="Nodes that joined, became ready, were lost, cordoned or deleted.",
           table="node_transitions", labels=(("transition", "transition"),)),
    Metric(name="sim_reachable_ratio", kind=GAUGE, unit="ratio", job="kubesim",
           help="Share of the nodes from which a pod, node or Service is reached, as probed.",
           table="reachability", value="reached_ratio",
           labels=(("source", "source"), ("target", "target"))),
    Metric(name="coredns_dns_requests_total", kind=COUNTER, unit="queries", job="coredns",
           help="Queries answered.", table="dns_queries", value="query_count"),
    Metric(name="sim_dns_latency_seconds", kind=GAUGE, unit="seconds", job="kubesim",
           help="Mean time of a query in CoreDNS.", table="dns_queries",
           value="latency_seconds_mean"),
    Metric(name="sim_dns_utilization_ratio", kind=GAUGE, unit="ratio", job="kubesim",
           help="Load of CoreDNS over its capacity.", table="dns_queries",
           value="utilization_ratio"),
)  # fmt: skip

_OTHER = (
    Metric(name="sim_object_commits_total", kind=COUNTER, unit="commits", job="kubesim",
           help="Commits of listed objects.", table="objects",
           labels=(("resource", "resource"), ("type", "type"))),
    Metric(name="sim_events_total", kind=COUNTER, unit="events", job="kubesim",
           help="Event objects written.", table="events",
           labels=(("type", "type"), ("reason", "reason"), ("source", "source"))),
    Metric(name="sim_faults_total", kind=COUNTER, unit="faults", job="kubesim",
           help="Faults, recoveries and limits reached.", table="faults",
           labels=(("component", "component"), ("what", "what"))),
)  # fmt: skip

METRICS: Final[tuple[Metric, ...]] = (
    *_API, *_ETCD, *_SCHEDULER_METRICS, *_CONTROLLERS, *_KUBELET, *_NETWORK, *_OTHER,
)  # fmt: skip
"""The catalogue, in the order of the documentation; sampled gauges come on top."""

BY_NAME: Final = MappingProxyType({metric.name: metric for metric in METRICS})


@dataclass(frozen=True, slots=True)
class SampledGauge:
    """How a sampled gauge (table ``gauges``) is published."""

    name: str
    label: str
    kind: str
    unit: str
    job: str
    help: str


SAMPLED: Final = MappingProxyType({
    "host_utilization_ratio": SampledGauge(
        "sim_host_utilization_ratio", "instance", GAUGE, "ratio", "kubesim",
        "Busy share of a host's cores since the last sample."),
    "process_cpu_seconds": SampledGauge(
        "process_cpu_seconds_total", "instance", COUNTER, "seconds", "",
        "CPU time used by a process."),
    "scheduler_pending_pods": SampledGauge(
        "scheduler_pending_pods", "queue", GAUGE, "pods", "kube-scheduler",
        "Pods in each queue of the scheduler."),
    "workqueue_depth_count": SampledGauge(
        "workqueue_depth", "name", GAUGE, "keys", "kube-controller-manager",
        "Keys waiting in a workqueue."),
    "flowcontrol_inqueue_requests": SampledGauge(
        "apiserver_flowcontrol_current_inqueue_requests", "priority_level", GAUGE, "requests",
        "kube-apiserver", "Requests waiting in priority and fairness."),
    "flowcontrol_executing_seats": SampledGauge(
        "apiserver_flowcontrol_current_executing_seats", "priority_level", GAUGE, "seats",
        "kube-apiserver", "Seats occupied."),
    "flowcontrol_limit_seats": SampledGauge(
        "apiserver_flowcontrol_current_limit_seats", "priority_level", GAUGE, "seats",
        "kube-apiserver", "Seats that the level may use now."),
    "etcd_pending_proposals_count": SampledGauge(
        "etcd_server_proposals_pending", "instance", GAUGE, "proposals", "etcd",
        "Proposals waiting for commit."),
    "storage_objects_count": SampledGauge(
        "apiserver_storage_objects", "resource", GAUGE, "objects", "kube-apiserver",
        "Objects stored."),
    "watchers_count": SampledGauge(
        "apiserver_longrunning_requests", "resource", GAUGE, "watches", "kube-apiserver",
        "Watches open."),
    "running_pods": SampledGauge(
        "kubelet_running_pods", "instance", GAUGE, "pods", "kubelet", "Pods running."),
})  # fmt: skip
"""Sampled gauges with a name upstream; all others are published as ``sim_<gauge>{instance}``."""


def sampled_gauge(gauge: str) -> SampledGauge:
    """Return how a sampled gauge is published; unknown ones get our prefix."""
    known = SAMPLED.get(gauge)
    if known is not None:
        return known
    unit = gauge.rpartition("_")[2]
    return SampledGauge(f"sim_{gauge}", "instance", GAUGE, unit, "kubesim", "Sampled by the run.")


def metric_names() -> list[str]:
    """Return the names of all metrics that may be named in thresholds."""
    return [metric.name for metric in METRICS] + [item.name for item in SAMPLED.values()]
