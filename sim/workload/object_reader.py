"""v1 JSON → API objects: checked, with the API server's defaults, all faults told at once.

**Modelled:** shapes, required fields, choices and quantities of the kinds in `kinds`; names;
selectors that do not match their template; priority classes; defaults of replicas, strategies,
policies and ports; stored sizes. **Not modelled:** what `kinds` marks; it is counted in
`ObjectReader.report` and told as W001 and W002. Owners and finalizers' controllers outside the
model are dropped like the API server drops a status on create.
**Source:** the API reference of Kubernetes v1.36; `facts/model.md` a.1 step 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sim.base.api_object import KIND_TO_PLURAL, RESOURCE_TYPES, APIObject
from sim.base.errors import Problem, UserError
from sim.base.objects import Generic, Pod
from sim.base.pod_template import PodTemplate
from sim.base.spelling import nearest
from sim.workload.conversion import CONVERTERS, Conversion, node_from_manifest, stored_size_bytes
from sim.workload.kinds import KIND_API_VERSIONS
from sim.workload.pod_templates import PodTemplates, without_nulls
from sim.workload.shapes import Fault, Findings, Path, checker

__all__ = ["ObjectReader", "ReadReport", "node_from_manifest"]

PROBLEMS_MAX: Final = 100
"""Reading stops once so many faults are known."""

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LOOSE_NAMES: Final = frozenset({"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})
_CLUSTER_SCOPED: Final = frozenset({
    "APIService", "CertificateSigningRequest", "CSIDriver", "CustomResourceDefinition",
    "DeviceClass", "IngressClass", "MutatingWebhookConfiguration", "ResourceSlice", "RuntimeClass",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration", "VolumeAttachment",
})  # fmt: skip
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(slots=True)
class ReadReport:
    """What was read, and what of it the model does not have."""

    kinds: dict[str, int] = field(default_factory=dict)
    """Kind → objects read."""
    unknown_kinds: dict[str, int] = field(default_factory=dict)
    """Kind → objects that are stored and sized but have no behaviour."""
    unmodelled_fields: dict[str, int] = field(default_factory=dict)
    """``Kind.path.to.field`` → objects that set it."""


class _RefusedError(Exception):
    """A template whose faults have been noted."""


class ObjectReader:
    """Turns manifests into objects; keeps the report over all it has read."""

    def __init__(
        self, templates: PodTemplates, *, service_address: Callable[[], str] | None = None
    ) -> None:
        self.templates = templates
        self.report = ReadReport()
        self.positions: list[int] = []
        """Position among the manifests of each object that was read last."""
        self._conversion = Conversion(templates, service_address)
        self._template_fields: dict[str, tuple[Path, ...]] = {}
        self._generated_count = 0
        self._told: dict[tuple[str, str], Problem] = {}

    @property
    def warnings(self) -> list[Problem]:
        """Kinds and fields outside the model: one warning each, with how often it occurred."""
        made = []
        for (code, what), first in self._told.items():
            table = self.report.unknown_kinds if code == "W001" else self.report.unmodelled_fields
            count = table[what]
            noun = "kind" if code == "W001" else "field"
            times = f"{count} object{'s' if count > 1 else ''}"
            message = f"{noun} {what} has no effect in the model ({times})"
            made.append(
                Problem(
                    code=code,
                    message=message,
                    file=first.file,
                    line=first.line,
                    column=first.column,
                    text=first.text,
                    span=first.span,
                )
            )
        return made

    def read(self, manifests: Sequence[dict[str, Any]]) -> list[APIObject]:
        """Return the objects in their order; priority classes count before the pods around them.

        Raises:
            UserError: every fault of every object.
        """
        self.read_priority_classes(manifests)
        problems: list[Problem] = []
        objects: list[APIObject] = []
        self.positions = []
        seen: set[tuple[str, str, str]] = set()
        for index, manifest in enumerate(manifests):
            found = Findings()
            made = self._convert(manifest, found)
            if made is not None:
                identity = (made.resource, made.namespace, made.name)
                if identity in seen:
                    found.add("E034", f"{_title(manifest)} is there twice", ("metadata", "name"))
                seen.add(identity)
                objects.append(made)
                self.positions.append(index)
            if found.faults:
                problems += [_problem(manifests, index, fault) for fault in found.faults]
                if len(problems) >= PROBLEMS_MAX:
                    break
            if found.unmodelled:
                self._count_fields(manifests, index, found.unmodelled)
            if made is not None:
                self._count_kind(manifests, index, manifest["kind"])
        if problems:
            raise UserError(problems)
        return objects

    def read_priority_classes(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Make priority classes known, so that pods read later may name them."""
        for manifest in manifests:
            if manifest.get("kind") != "PriorityClass":
                continue
            found = Findings()
            checker("PriorityClass")(manifest, (), found)
            name = None if found.faults else manifest["metadata"].get("name")
            if name:
                self.templates.priorities[name] = manifest["value"]
                if manifest.get("globalDefault"):
                    self.templates.default_priority = manifest["value"]

    # One object.

    def _convert(self, manifest: dict[str, Any], found: Findings) -> APIObject | None:
        kind = manifest.get("kind")
        version = manifest.get("apiVersion")
        for key, value in (("apiVersion", version), ("kind", kind)):
            if not value or not isinstance(value, str):
                found.add("E011", f"missing field {key!r}: it says what the object is", (key,))
        if found.faults:
            return None
        assert isinstance(kind, str)
        versions = KIND_API_VERSIONS.get(kind)
        if versions is not None and version not in versions:
            found.faults.append(
                Fault("E017", f"{kind} of {version} is not read", ("apiVersion",), False, versions)
            )
            return None
        if versions is None:
            likely = nearest(kind, KIND_API_VERSIONS)
            if likely is not None and version in KIND_API_VERSIONS[likely]:
                found.faults.append(
                    Fault("E017", f"unknown kind {kind!r}", ("kind",), False, (), likely)
                )
                return None
        if kind == "Pod":
            return self._pod(manifest, found)
        converter = CONVERTERS.get(kind)
        if converter is None:
            return self._generic(manifest, kind, found)
        checker(kind)(manifest, (), found)
        if found.faults:
            return None
        manifest = without_nulls(manifest)
        common = self._metadata(manifest, kind, found)
        self._conversion.found = found
        made = converter(self._conversion, manifest, common)
        return None if found.faults else made

    def _metadata(
        self, manifest: Mapping[str, Any], kind: str, found: Findings
    ) -> dict[str, Any]:
        metadata = manifest["metadata"]
        name = metadata.get("name") or ""
        prefix = metadata.get("generateName")
        if not name and prefix:
            name = prefix + _suffix(self._generated_count)
            self._generated_count += 1
        if not name:
            found.add("E011", "missing field 'name'", ("metadata", "name"))
        elif _NAME.fullmatch(name) is None and kind not in _LOOSE_NAMES:
            message = f"{name!r} is not a name: lower-case letters, digits, dashes and dots"
            found.add("E033", message, ("metadata", "name"))
        common: dict[str, Any] = {"name": name}
        if _is_namespaced(kind, metadata):
            common["namespace"] = metadata.get("namespace") or "default"
        elif metadata.get("namespace"):
            found.add("E033", f"a {kind} has no namespace", ("metadata", "namespace"))
        for key in ("labels", "annotations"):
            given = metadata.get(key)
            if given:
                common[key] = given
        return common

    def _pod(self, manifest: dict[str, Any], found: Findings) -> Pod | None:
        checker("PodShell")(manifest, (), found)
        if found.faults:
            return None
        common = self._metadata(manifest, "Pod", found)

        def check(item: Mapping[str, Any]) -> None:
            inner = Findings()
            checker("PodSpec")(item["spec"], ("spec",), inner)
            found.faults += inner.faults
            if inner.faults:
                raise _RefusedError
            self._conversion.found = found
            self._conversion.check_pod_spec(item["spec"], ("spec",))
            if found.faults:
                raise _RefusedError
            unmodelled[:] = inner.unmodelled

        unmodelled: list[Path] = []
        try:
            template = self.templates.template(manifest, common["namespace"], check)
        except _RefusedError:
            return None
        paths = self._template_fields.setdefault(template.digest, tuple(unmodelled))
        found.unmodelled += paths
        common["labels"] = template.labels
        if "annotations" in common:
            common["size_bytes"] = template.size_bytes + sum(
                len(key) + len(value) for key, value in common["annotations"].items()
            )
        return Pod(
            template=template,
            node_name=template.node_name,
            **common,
        )

    def _generic(
        self, manifest: dict[str, Any], kind: str, found: Findings
    ) -> Generic | None:
        if manifest.get("metadata") is None:
            found.add("E011", "missing field 'metadata'", ("metadata",))
        else:
            checker("Metadata")(manifest["metadata"], ("metadata",), found)
        if found.faults:
            return None
        manifest = without_nulls(manifest)
        return Generic(
            **self._metadata(manifest, kind, found),
            kind_plural=KIND_TO_PLURAL.get(kind) or _plural(kind),
            manifest=manifest,
            size_bytes=stored_size_bytes(manifest),
        )

    # What is outside the model.

    def _count_kind(self, manifests: Sequence[Any], index: int, kind: str) -> None:
        kinds = self.report.kinds
        kinds[kind] = kinds.get(kind, 0) + 1
        if kind in KIND_API_VERSIONS:
            return
        table = self.report.unknown_kinds
        if kind not in table:
            fault = Fault("W001", "", ("kind",))
            self._told["W001", kind] = _problem(manifests, index, fault)
        table[kind] = table.get(kind, 0) + 1

    def _count_fields(self, manifests: Sequence[Any], index: int, paths: list[Path]) -> None:
        table = self.report.unmodelled_fields
        kind = manifests[index]["kind"]
        names = {_field_name(kind, path): path for path in paths}
        for name, path in names.items():
            if name not in table:
                self._told["W002", name] = _problem(manifests, index, Fault("W002", "", path, True))
            table[name] = table.get(name, 0) + 1


def _field_name(kind: str, path: Path) -> str:
    return ".".join([kind, *(step for step in path if isinstance(step, str))])


def _is_namespaced(kind: str, metadata: Mapping[str, Any]) -> bool:
    plural = KIND_TO_PLURAL.get(kind)
    if plural is not None:
        return RESOURCE_TYPES[plural].namespaced
    if kind in _CLUSTER_SCOPED or kind.startswith("Cluster"):
        return bool(metadata.get("namespace"))
    return True


def _plural(kind: str) -> str:
    word = kind.lower()
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _suffix(number: int) -> str:
    """Return five characters as Kubernetes' name generator uses them, distinct per number."""
    value = (number * 7_919_381 + 104_729) % len(_SUFFIX_ALPHABET) ** 5
    text = ""
    for _ in range(5):
        value, digit = divmod(value, len(_SUFFIX_ALPHABET))
        text += _SUFFIX_ALPHABET[digit]
    return text


def _title(manifest: Mapping[str, Any]) -> str:
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    place = metadata.get("namespace")
    name = metadata.get("name") or metadata.get("generateName") or "?"
    return f"{manifest.get('kind') or 'object'} {f'{place}/' if place else ''}{name}"


def _problem(manifests: Sequence[Any], index: int, fault: Fault) -> Problem:
    message = fault.message
    manifest = manifests[index]
    where = ".".join(str(step) for step in fault.path)
    message = f"{_title(manifest)}: {where}: {message}"
    details: dict[str, Any] = {"allowed": fault.allowed, "nearest": fault.nearest}
    locate = getattr(manifests, "problem", None)
    if locate is None:
        return Problem(code=fault.code, message=message, **details)
    made: Problem = locate(
        index, fault.code, message, fault.path, at_key=fault.at_key, **details
    )
    return made


def template_of(item: APIObject) -> PodTemplate | None:
    """Return the pod template of a pod or workload, None of anything else."""
    found = getattr(item, "template", None) or getattr(item, "job_template", None)
    return found if isinstance(found, PodTemplate) else None
