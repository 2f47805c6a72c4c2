"""The fields of the kinds that are read: their shapes, and which of them the model has.

One entry per structure: field → shape. Shapes: ``text bool int count quantity intOrText object
any labels quantities duration``, ``[X]`` for a list, a capital letter for another structure.
``!`` after a shape: required. ``~`` before it: matters in Kubernetes, has no effect in the model
(warning W002). A field that is listed without ``~`` is modelled or has no influence on load and
times.

**Source:** the published API reference of Kubernetes v1.36 (names and types of fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Structure = Mapping[str, str]


def _fields(**shapes: str) -> Structure:
    return MappingProxyType(shapes)


def _many(shape: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), shape)


_SELECTOR: Final = _fields(matchLabels="labels", matchExpressions="[Requirement]")

STRUCTURES: Final[Mapping[str, Structure]] = MappingProxyType({
    "Metadata": _fields(
        name="text", generateName="text", namespace="text", labels="labels", annotations="labels",
        finalizers="[text]", ownerReferences="~[object]", deletionTimestamp="~text",
        deletionGracePeriodSeconds="int", uid="text", resourceVersion="text", selfLink="text",
        creationTimestamp="text", generation="int", managedFields="[object]",
    ),
    "Requirement": _fields(key="text!", operator="text!", values="[text]"),
    "Selector": _SELECTOR,
    # --- pods ----------------------------------------------------------------------------------
    "PodTemplate": _fields(metadata="Metadata", spec="PodSpec!"),
    "PodSpec": _fields(
        containers="[Container]!", initContainers="[Container]",
        ephemeralContainers="~[object]", affinity="Affinity", nodeSelector="labels",
        nodeName="text", tolerations="[Toleration]", topologySpreadConstraints="[Spread]",
        schedulerName="text", schedulingGates="[Gate]", priority="int",
        priorityClassName="text", preemptionPolicy="text", overhead="quantities",
        resources="Resources", restartPolicy="text", terminationGracePeriodSeconds="count",
        activeDeadlineSeconds="~count", volumes="[Volume]", hostNetwork="bool",
        automountServiceAccountToken="bool", resourceClaims="~[object]", readinessGates="~[object]",
        runtimeClassName="~text", hostUsers="~bool", workloadRef="~object",
        **_many("object", "securityContext dnsConfig os"),
        **_many("text", "dnsPolicy serviceAccountName serviceAccount hostname hostnameOverride "
                        "subdomain"),
        **_many("bool", "hostPID hostIPC shareProcessNamespace enableServiceLinks "
                        "setHostnameAsFQDN"),
        **_many("[object]", "imagePullSecrets hostAliases"),
    ),
    "Container": _fields(
        name="text!", image="text", imagePullPolicy="text", resources="Resources",
        ports="[ContainerPort]", readinessProbe="Probe", livenessProbe="Probe",
        startupProbe="Probe", restartPolicy="text", lifecycle="~object",
        restartPolicyRules="~[object]", resizePolicy="[object]",
        **_many("[text]", "command args"), **_many("[object]", "env envFrom volumeMounts "
                                                                "volumeDevices"),
        **_many("text", "workingDir terminationMessagePath terminationMessagePolicy"),
        **_many("bool", "stdin stdinOnce tty"), securityContext="object",
    ),
    "ContainerPort": _fields(
        name="text", containerPort="port!", hostPort="int", hostIP="text", protocol="text",
    ),
    "Resources": _fields(requests="quantities", limits="quantities", claims="~[object]"),
    "Probe": _fields(
        initialDelaySeconds="count", periodSeconds="count", timeoutSeconds="count",
        successThreshold="count", failureThreshold="count", terminationGracePeriodSeconds="~count",
        **_many("object", "exec httpGet tcpSocket grpc"),
    ),
    "Affinity": _fields(
        nodeAffinity="NodeAffinity", podAffinity="PodAffinity", podAntiAffinity="PodAffinity",
    ),
    "NodeAffinity": _fields(
        requiredDuringSchedulingIgnoredDuringExecution="NodeTerms",
        preferredDuringSchedulingIgnoredDuringExecution="[PreferredTerm]",
    ),
    "NodeTerms": _fields(nodeSelectorTerms="[NodeTerm]!"),
    "NodeTerm": _fields(matchExpressions="[NodeRequirement]", matchFields="[NodeRequirement]"),
    "NodeRequirement": _fields(key="text!", operator="text!", values="[text]"),
    "PreferredTerm": _fields(weight="int!", preference="NodeTerm!"),
    "PodAffinity": _fields(
        requiredDuringSchedulingIgnoredDuringExecution="[PodTerm]",
        preferredDuringSchedulingIgnoredDuringExecution="[WeightedPodTerm]",
    ),
    "PodTerm": _fields(
        labelSelector="Selector", topologyKey="text!", namespaces="[text]",
        namespaceSelector="Selector", matchLabelKeys="[text]", mismatchLabelKeys="[text]",
    ),
    "WeightedPodTerm": _fields(weight="int!", podAffinityTerm="PodTerm!"),
    "Gate": _fields(name="text!"),
    "Volume": _fields(
        name="text!", configMap="ConfigMapVolume", secret="SecretVolume",
        persistentVolumeClaim="ClaimVolume",
        **_many("object", "awsElasticBlockStore azureDisk azureFile cephfs cinder csi downwardAPI "
                          "emptyDir ephemeral fc flexVolume flocker gcePersistentDisk gitRepo "
                          "glusterfs hostPath image iscsi nfs photonPersistentDisk portworxVolume "
                          "projected quobyte rbd scaleIO storageos vsphereVolume"),
    ),
    "ConfigMapVolume": _fields(
        name="text", items="[object]", defaultMode="int", optional="bool",
    ),
    "SecretVolume": _fields(
        secretName="text", items="[object]", defaultMode="int", optional="bool",
    ),
    "ClaimVolume": _fields(claimName="text!", readOnly="bool"),
    "Toleration": _fields(
        key="text", operator="text", value="text", effect="text", tolerationSeconds="int",
    ),
    "Spread": _fields(
        maxSkew="int!", topologyKey="text!", whenUnsatisfiable="text!", labelSelector="Selector",
        minDomains="int", nodeAffinityPolicy="text", nodeTaintsPolicy="text",
        matchLabelKeys="[text]",
    ),
    # --- nodes ---------------------------------------------------------------------------------
    "NodeSpec": _fields(
        taints="[Taint]", unschedulable="bool", podCIDR="text", podCIDRs="[text]",
        providerID="text", externalID="text", configSource="object",
    ),
    "Taint": _fields(key="text!", value="text", effect="text!", timeAdded="text"),
    "NodeStatus": _fields(
        allocatable="quantities", capacity="quantities", images="[object]",
        **_many("[object]", "conditions addresses volumesAttached runtimeHandlers"),
        **_many("object", "daemonEndpoints nodeInfo config features"), phase="text",
        volumesInUse="[text]", declaredFeatures="[text]",
    ),
    # --- workloads -----------------------------------------------------------------------------
    "DeploymentSpec": _fields(
        replicas="count", selector="Selector!", template="PodTemplate!", minReadySeconds="count",
        strategy="DeploymentStrategy", revisionHistoryLimit="count",
        progressDeadlineSeconds="count", paused="bool",
    ),
    "DeploymentStrategy": _fields(type="text", rollingUpdate="Rolling"),
    "Rolling": _fields(maxSurge="intOrText", maxUnavailable="intOrText", partition="count"),
    "ReplicaSetSpec": _fields(
        replicas="count", selector="Selector!", template="PodTemplate!", minReadySeconds="count",
    ),
    "StatefulSetSpec": _fields(
        replicas="count", selector="Selector!", template="PodTemplate!", minReadySeconds="count",
        serviceName="text", podManagementPolicy="text", updateStrategy="DeploymentStrategy",
        revisionHistoryLimit="count", volumeClaimTemplates="~[object]",
        persistentVolumeClaimRetentionPolicy="object", ordinals="~object",
    ),
    "DaemonSetSpec": _fields(
        selector="Selector!", template="PodTemplate!", minReadySeconds="count",
        updateStrategy="DeploymentStrategy", revisionHistoryLimit="count",
    ),
    "JobSpec": _fields(
        template="PodTemplate!", completions="count", parallelism="count", backoffLimit="count",
        completionMode="text", ttlSecondsAfterFinished="count", suspend="bool",
        selector="Selector", manualSelector="bool", activeDeadlineSeconds="~count",
        backoffLimitPerIndex="~count", maxFailedIndexes="~count", podFailurePolicy="~object",
        successPolicy="~object", podReplacementPolicy="~text", managedBy="~text",
    ),
    "CronJobSpec": _fields(
        schedule="text!", jobTemplate="JobTemplate!", concurrencyPolicy="text", suspend="bool",
        timeZone="~text", startingDeadlineSeconds="~count", successfulJobsHistoryLimit="~count",
        failedJobsHistoryLimit="~count",
    ),
    "JobTemplate": _fields(metadata="Metadata", spec="JobSpec!"),
    "AutoscalerSpec": _fields(
        scaleTargetRef="TargetReference!", minReplicas="count", maxReplicas="count!",
        metrics="[Metric]", behavior="~object", targetCPUUtilizationPercentage="count",
    ),
    "Metric": _fields(
        type="text", resource="ResourceMetric",
        **_many("object", "pods object external containerResource"),
    ),
    "ResourceMetric": _fields(name="text!", target="MetricTarget!"),
    "MetricTarget": _fields(
        type="text", averageUtilization="count", averageValue="quantity", value="quantity",
    ),
    "TargetReference": _fields(kind="text!", name="text!", apiVersion="text"),
    "BudgetSpec": _fields(
        selector="Selector", minAvailable="intOrText", maxUnavailable="intOrText",
        unhealthyPodEvictionPolicy="~text",
    ),
    # --- network -------------------------------------------------------------------------------
    "ServiceSpec": _fields(
        selector="labels", type="text", clusterIP="text", clusterIPs="[text]",
        ports="[ServicePort]", sessionAffinity="text", sessionAffinityConfig="object",
        externalTrafficPolicy="text", internalTrafficPolicy="~text", trafficDistribution="~text",
        publishNotReadyAddresses="bool", externalName="text", externalIPs="~[text]",
        ipFamilies="[text]", ipFamilyPolicy="text", loadBalancerIP="text",
        loadBalancerSourceRanges="[text]", loadBalancerClass="text", healthCheckNodePort="int",
        allocateLoadBalancerNodePorts="bool",
    ),
    "ServicePort": _fields(
        name="text", port="port!", targetPort="intOrText", protocol="text", nodePort="int",
        appProtocol="text",
    ),
    "SlicePort": _fields(name="text", port="port", protocol="text", appProtocol="text"),
    "SliceEndpoint": _fields(
        addresses="[text]!", conditions="Conditions", nodeName="text", targetRef="Reference",
        zone="text", hostname="text", hints="object", deprecatedTopology="object",
    ),
    "Reference": _fields(**_many(
        "text", "kind namespace name uid apiVersion resourceVersion fieldPath"
    )),
    "Conditions": _fields(ready="bool", serving="bool", terminating="bool"),
    # --- whole objects -------------------------------------------------------------------------
    "Pod": _fields(metadata="Metadata!", spec="PodSpec!", status="object"),
    "PodShell": _fields(metadata="Metadata!", spec="object!", status="object"),
    "Node": _fields(metadata="Metadata!", spec="NodeSpec", status="NodeStatus"),
    "Namespace": _fields(metadata="Metadata!", spec="object", status="object"),
    "Deployment": _fields(metadata="Metadata!", spec="DeploymentSpec!", status="object"),
    "ReplicaSet": _fields(metadata="Metadata!", spec="ReplicaSetSpec!", status="object"),
    "StatefulSet": _fields(metadata="Metadata!", spec="StatefulSetSpec!", status="object"),
    "DaemonSet": _fields(metadata="Metadata!", spec="DaemonSetSpec!", status="object"),
    "Job": _fields(metadata="Metadata!", spec="JobSpec!", status="object"),
    "CronJob": _fields(metadata="Metadata!", spec="CronJobSpec!", status="object"),
    "HorizontalPodAutoscaler": _fields(
        metadata="Metadata!", spec="AutoscalerSpec!", status="object"
    ),
    "PodDisruptionBudget": _fields(metadata="Metadata!", spec="BudgetSpec!", status="object"),
    "PriorityClass": _fields(
        metadata="Metadata!", value="int!", globalDefault="bool", description="text",
        preemptionPolicy="text",
    ),
    "Service": _fields(metadata="Metadata!", spec="ServiceSpec", status="object"),
    "EndpointSlice": _fields(
        metadata="Metadata!", addressType="text!", endpoints="[SliceEndpoint]",
        ports="[SlicePort]",
    ),
})  # fmt: skip
"""Structure → its fields. Kinds that are only stored (ConfigMap, Secret …) have none."""

CHOICES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType({
    ("PodSpec", "restartPolicy"): ("Always", "OnFailure", "Never"),
    ("Container", "restartPolicy"): ("Always", "OnFailure", "Never"),
    ("Container", "imagePullPolicy"): ("Always", "IfNotPresent", "Never"),
    ("Taint", "effect"): ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    ("Toleration", "effect"): ("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
    ("Toleration", "operator"): ("", "Equal", "Exists", "Lt", "Gt"),
    ("Requirement", "operator"): ("In", "NotIn", "Exists", "DoesNotExist"),
    ("NodeRequirement", "operator"): ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    ("Spread", "whenUnsatisfiable"): ("DoNotSchedule", "ScheduleAnyway"),
    ("DeploymentStrategy", "type"): ("RollingUpdate", "Recreate", "OnDelete"),
    ("StatefulSetSpec", "podManagementPolicy"): ("OrderedReady", "Parallel"),
    ("JobSpec", "completionMode"): ("NonIndexed", "Indexed"),
    ("CronJobSpec", "concurrencyPolicy"): ("Allow", "Forbid", "Replace"),
    ("ServiceSpec", "type"): ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    ("ServiceSpec", "sessionAffinity"): ("None", "ClientIP"),
    ("ServiceSpec", "externalTrafficPolicy"): ("Cluster", "Local"),
    ("ServicePort", "protocol"): ("TCP", "UDP", "SCTP"),
    ("PriorityClass", "preemptionPolicy"): ("PreemptLowerPriority", "Never"),
    ("PodSpec", "preemptionPolicy"): ("PreemptLowerPriority", "Never"),
})
"""(structure, field) → the values the API server accepts."""

KIND_API_VERSIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "Pod": ("v1",), "Node": ("v1",), "Namespace": ("v1",), "Service": ("v1",),
    "ConfigMap": ("v1",), "Secret": ("v1",), "ServiceAccount": ("v1",),
    "PersistentVolume": ("v1",), "PersistentVolumeClaim": ("v1",), "ResourceQuota": ("v1",),
    "LimitRange": ("v1",), "Deployment": ("apps/v1",), "ReplicaSet": ("apps/v1",),
    "StatefulSet": ("apps/v1",), "DaemonSet": ("apps/v1",), "Job": ("batch/v1",),
    "CronJob": ("batch/v1",), "HorizontalPodAutoscaler": ("autoscaling/v2", "autoscaling/v1"),
    "PodDisruptionBudget": ("policy/v1",), "PriorityClass": ("scheduling.k8s.io/v1",),
    "EndpointSlice": ("discovery.k8s.io/v1",), "StorageClass": ("storage.k8s.io/v1",),
    "CSINode": ("storage.k8s.io/v1",),
})  # fmt: skip
"""Kind → apiVersions that are read; other kinds are stored, sized and counted (warning W001)."""
