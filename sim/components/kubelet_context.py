"""What the parts of a kubelet fleet share: nodes by index, pods by node, laws and neighbours."""

from __future__ import annotations

from collections.abc import Callable

from sim.base.objects import Node
from sim.base.pod_template import PodTemplate
from sim.components.container_runtime import ContainerRuntime
from sim.components.image import Images
from sim.components.kubelet_client import FleetClient
from sim.components.kubelet_events import EventRecorders
from sim.components.kubelet_params import KubeletParams
from sim.components.kubelet_pleg import Pleg
from sim.components.kubelet_record import PodPlan, PodRecord
from sim.components.kubelet_status import StatusManagers
from sim.components.overlay import Overlay
from sim.costs.kubelet import KubeletLawParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder


class KubeletContext:
    """Everything by node index; index order is the order in which nodes were added."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        params: KubeletParams,
        law: KubeletLawParams,
        runtime: ContainerRuntime,
        overlay: Overlay,
        images: Images,
        client: FleetClient,
        event_client: FleetClient,
    ) -> None:
        self.engine = engine
        self.params = params
        self.law = law
        self.runtime = runtime
        self.overlay = overlay
        self.images = images
        self.client = client
        self.event_client = event_client
        self.pleg = Pleg(params, runtime)
        self.status: StatusManagers
        self.events: EventRecorders
        self.token_granted: Callable[[PodRecord], object]
        """Told when a pod has got its token."""
        self.transitions = recorder["pod_transitions"]
        self.faults = recorder["faults"]
        self.network_agent_started: Callable[[int], object]
        """Told when a pod with the overlay agent's label has started on a node."""
        self.names: list[str] = []
        self.host_ips: list[str] = []
        self.nodes: list[Node] = []
        """Newest own Node object of each kubelet's watch."""
        self.up: list[bool] = []
        """Whether the kubelet process runs."""
        self.by_node: list[dict[int, PodRecord]] = []
        """Pods by uid, one dictionary per node."""
        self.running_count = 0
        """Pods of all nodes whose containers have been started and whose sandbox is up."""
        self.active_counts: list[int] = []
        """Pods that count against max_pods (not stopped), by node."""
        self.populator_phases: list[float] = []
        self.reconciler_phases: list[float] = []
        """Offsets of the node's two volume loops, seconds below ``volume_loop_seconds``."""
        self.cpu_seconds: list[float] = []
        """CPU spent by the kubelet itself on pods, by node."""
        self._plans: dict[PodTemplate, PodPlan] = {}

    def plan(self, template: PodTemplate) -> PodPlan:
        """Return the plan of a template (templates are shared, so it is made once)."""
        found = self._plans.get(template)
        if found is None:
            found = self._plans[template] = PodPlan(template)
            key, _, value = self.params.network_agent_label.partition("=")
            found.network_agent = bool(key) and template.labels.get(key) == value
        return found

    def reconciled_seconds(self, node: int, time_seconds: float) -> float:
        """Next pass of the node's volume reconciler after a time."""
        period = self.params.volume_loop_seconds
        phase = self.reconciler_phases[node]
        return phase + period * ((time_seconds - phase) // period + 1.0)

    def populated_seconds(self, node: int, time_seconds: float) -> float:
        """Next pass of the node's volume populator after a time."""
        period = self.params.volume_loop_seconds
        phase = self.populator_phases[node]
        return phase + period * ((time_seconds - phase) // period + 1.0)

    def publish(self, record: PodRecord) -> None:
        """Hand a pod's current state to the status manager."""
        if not record.deleted and self.up[record.node]:
            self.status.publish(record, self.host_ips[record.node])

    def poke(self, record: PodRecord) -> None:
        """Let the status manager look at a pod again."""
        if not record.deleted and self.up[record.node]:
            self.status.poke(record)

    def begin(self, record: PodRecord) -> None:
        """The runtime starts working on a pod."""
        if not record.operating:
            record.operating = True
            self.runtime.begin(record.node)

    def count_running(self, record: PodRecord) -> None:
        """All containers of a pod run: its processes want CPU."""
        record.counted = True
        self.running_count += 1
        if self.runtime.cpus is not None:
            self.runtime.cpus.pod_runs(record.node, record.plan.template.cpu_requested_millicores)

    def uncount_running(self, record: PodRecord) -> None:
        """They do not run any more."""
        record.counted = False
        self.running_count -= 1
        if self.runtime.cpus is not None:
            self.runtime.cpus.pod_ends(record.node, record.plan.template.cpu_requested_millicores)

    def end(self, record: PodRecord) -> None:
        """The runtime has nothing to do for a pod any more."""
        if record.operating:
            record.operating = False
            self.runtime.end(record.node)
