"""What a workload can do to the machines of a cluster: join, break, mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.cluster.reachability import Reachability
from sim.workload.object_reader import node_from_manifest
from sim.workload.operations import Fault

if TYPE_CHECKING:
    from sim.cluster.cluster import Cluster


class Actions:
    """Implements `sim.workload.faults.ClusterActions` for one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def join_node(self, manifest: Mapping[str, Any]) -> None:
        """Switch on a machine: its kubelet registers the node, its kube-proxy lists and syncs."""
        cluster = self._cluster
        node = node_from_manifest(manifest)
        node.internal_ip = cluster.next_node_address()
        cluster.kubelets.join_node(node)
        cluster.proxies.add_node()

    def fault(self, fault: Fault) -> None:
        """Break what ``fault.what`` and ``fault.target`` say."""
        cluster = self._cluster
        what, target = fault.what, fault.target
        if what == "killNode":
            index = cluster.kubelets.index_by_name[target]
            cluster.kubelets.kill_node(target)
            cluster.proxies.disconnect(index)
        elif what == "restartKubelets":
            cluster.kubelets.restart_kubelets(fault.duration_seconds)
        elif what == "killMember":
            member = self._member(target)
            if fault.graceful:
                cluster.etcd.faults.terminate(member)
            else:
                cluster.etcd.faults.kill(member)
        elif what == "slowDisk":
            cluster.etcd.faults.slow_disk(self._member(target), fault.factor)
        elif what == "fillDisk":
            cluster.etcd.faults.fill_disk(self._member(target))
        elif what == "killApiserver":
            cluster.replicas[int(target or 0)].crash()
        elif what == "restartApiserver":
            replica = cluster.replicas[int(target or 0)]
            replica.crash()
            replica.restart()
        elif what == "killControllerManager":
            cluster.controller_managers[self._leading_manager(target)].stop()
        else:
            assert what == "killScheduler", what
            cluster.schedulers[self._leading_scheduler(target)].stop()

    def look(self, source: str, target: str) -> tuple[int, int]:
        """Return (nodes asked, nodes from which a pod, node or Service is reached) now."""
        return Reachability(self._cluster).look(source, target)

    def mend(self, fault: Fault) -> None:
        """Undo a fault: start what was killed, restore what was slowed."""
        cluster = self._cluster
        what, target = fault.what, fault.target
        if what == "killNode":
            cluster.kubelets.recover_node(target)
            cluster.proxies.reconnect(cluster.kubelets.index_by_name[target])
        elif what == "killMember":
            for member in cluster.etcd.members:
                if not member.alive:
                    cluster.etcd.faults.restart(member.index)
        elif what == "slowDisk":
            for member in cluster.etcd.members:
                cluster.etcd.faults.slow_disk(member.index, 1.0)
        elif what == "killApiserver":
            cluster.replicas[int(target or 0)].restart()
        elif what == "killControllerManager":
            for manager in cluster.controller_managers:
                manager.start()
        elif what == "killScheduler":
            for scheduler in cluster.schedulers:
                scheduler.restart()

    def _member(self, target: str) -> int:
        etcd = self._cluster.etcd
        if target in {"", "leader"}:
            leader = etcd.raft.leader
            return leader.index if leader is not None else 0
        if target == "follower":
            leader = etcd.raft.leader
            return next(item.index for item in etcd.members if item is not leader)
        return int(target)

    def _leading_manager(self, target: str) -> int:
        if target not in {"", "leader"}:
            return int(target)
        managers = self._cluster.controller_managers
        return next((i for i, item in enumerate(managers) if item.leading), 0)

    def _leading_scheduler(self, target: str) -> int:
        if target not in {"", "leader"}:
            return int(target)
        schedulers = self._cluster.schedulers
        return next((i for i, item in enumerate(schedulers) if item.leading), 0)
