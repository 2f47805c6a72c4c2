"""Bad input against the real cluster: each fault has its code, its place and exit code 104.

Nothing may end in a traceback, and nothing may be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from sim.cluster.params import ClusterParams
from sim.experiment.fields import FieldInfo, field_infos, union_members
from tests.cli.test_commands import Result, kubesim

FILE = """apiVersion: sim/v1alpha1
kind: Experiment
metadata: {name: t}
spec:
  cluster:
    nodes:
      pools:
        - {name: node, count: 3, cpuMillicores: 8000, memoryBytes: 32Gi}
  workload:
    - {op: createPods, count: 5, pod: {cpuMillicores: 100, memoryBytes: 128Mi}}
  run: {seed: 1, stop: settled, durationSeconds: 20m}
"""
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: x}]}\n"
NODE = (
    "apiVersion: v1\nkind: Node\nmetadata: {name: a}\n"
    "status: {allocatable: {cpu: 4, memory: 8Gi, pods: 10}}\n"
)
WITH_NODES = FILE.replace("      pools:\n", "      manifests: [n.yaml]\n").replace(
    "        - {name: node, count: 3, cpuMillicores: 8000, memoryBytes: 32Gi}\n", ""
)
WITH_PODS = FILE.replace("  run:", "    - {op: applyManifests, manifests: [m.yaml]}\n  run:")


def write(text: str | bytes, name: str = "e.yaml") -> None:
    raw = text.encode("utf-8") if isinstance(text, str) else text
    Path(name).write_bytes(raw)


def run(*more: str) -> Result:
    result = kubesim("run", "e.yaml", "--progress", "none", *more)
    assert "Traceback" not in result.err
    return result


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "e.yaml: error E005"),
    "cut off": (FILE[:200], "e.yaml:10:13: error E003"),
    "a tab": (FILE.replace("  cluster:", "\tcluster:"), "e.yaml:5:1: error E002: a tab"),
    "Latin-1": (FILE.encode().replace(b"name: t", b"name: t\xff"), "e.yaml:3:19: error E002"),
    "UTF-16": (FILE.encode("utf-16"), "e.yaml:1:1: error E002: not UTF-8"),
    "binary": (b"a: \x00\n", "e.yaml:1:4: error E002"),
    "a list": ("[]\n", "e.yaml:1:1: error E005"),
    "two documents": (f"{FILE}---\n{FILE}", "e.yaml:13:1: error E005"),
    "a merge key": (FILE.replace("metadata: {", "metadata: {<<: {}, "), ":3:12: error E009"),
    "no nodes": (FILE.replace("count: 3", "count: 0"), "e.yaml:6:5: error E031"),
    "many nodes": (FILE.replace("count: 3", "count: 9e7"), "error E032: 90,000,000 nodes"),
    "many pods": (FILE.replace("count: 5", "count: 1e9"), "error E032: 3 nodes and 1,000,000,000"),
    "no capacity": (FILE.replace("8000", "0"), "e.yaml:8:49: error E013"),
    "a taint": (FILE.replace("8000", "8000, taints: [a:Now]"), "e.yaml:8:64: error E033"),
    "names taken": (FILE.replace("name: node", "name: control-plane"), "e.yaml:8:18: error E034"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_broken_experiments(case: str) -> None:
    text, message = BROKEN[case]
    write(text)
    result = run()
    assert result.code == 104
    assert message in result.err
    assert not Path("results").exists()


BROKEN_NODES = {
    "without capacity": (NODE.partition("status")[0], "n.yaml:1:1: error E030"),
    "no CPU": (NODE.replace("cpu: 4", "cpu: 0"), "n.yaml:4:29: error E030"),
    "twice": (f"{NODE}---\n{NODE}", "n.yaml:8:18: error E034"),
    "the control plane's name": (NODE.replace("name: a", "name: control-plane-0"), "error E034"),
    "a taint without effect": (NODE + "spec: {taints: [{key: a}]}\n", "error E011"),
    "cut off": (NODE + "spec: {taints: [{key: 'a", "n.yaml:5:25: error E003"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BROKEN_NODES))
def test_broken_nodes(case: str) -> None:
    text, message = BROKEN_NODES[case]
    write(WITH_NODES)
    write(text, "n.yaml")
    result = run()
    assert result.code == 104
    assert message in result.err
    assert not Path("results").exists()


def test_all_faults_of_all_manifests_are_told_even_beside_faults_of_the_experiment() -> None:
    write(WITH_PODS.replace("count: 3", "count: 3, count: x"))
    write(
        POD.replace("name: a", "name: a, name: b").replace("image: x", "image: x, imag: y")
        + "---\n- 1\n---\n" + POD.replace("kind: Pod", "kind: Pad")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
        "spec: {ports: [{port: 99999}]}\n",
        "m.yaml",
    )  # fmt: skip
    errors = [line for line in run().err.splitlines() if ": error " in line]
    places = [line.split(": ")[0].rpartition("/")[2] for line in errors]
    codes = [line.split(": error ")[1][:4] for line in errors]
    assert list(zip(places, codes, strict=True)) == [
        ("e.yaml:8:34", "E004"), ("e.yaml:8:41", "E012"), ("m.yaml:3:21", "E004"),
        ("m.yaml:4:41", "E010"), ("m.yaml:6:1", "E005"), ("m.yaml:9:7", "E017"),
        ("m.yaml:16:23", "E013"),
    ]  # fmt: skip


def test_what_is_odd_but_allowed_is_a_warning_with_its_place() -> None:
    write(WITH_PODS)
    write(
        POD.replace("image: x", "image: x, resources: {requests: {cpu: 500}}")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
        "spec: {selector: {app: none}, ports: [{port: 80}]}\n",
        "m.yaml",
    )  # fmt: skip
    result = run("--out", "somewhere")
    assert result.code == 0
    assert "m.yaml:4:7: warning W004: 1 pod such as default/a fit on no node" in result.err
    assert "m.yaml:9:18: warning W003: 1 Service selects no pod: default/s" in result.err
    assert "8 of 9" not in result.out
    write(WITH_NODES)
    write(f"{NODE}---\n{POD}", "n.yaml")
    assert "n.yaml:7:7: warning W001: 1 object that is not a Node is left out" in run().err


@pytest.mark.parametrize("text", [
    b"\xef\xbb\xbf" + FILE.encode(), FILE.replace("\n", "\r\n").encode(), FILE.rstrip().encode(),
])  # fmt: skip
def test_marks_line_ends_and_a_missing_line_end_do_not_matter(text: bytes) -> None:
    write(FILE)
    wanted = kubesim("show", "e.yaml", "-o", "digest").out
    write(text)
    assert kubesim("show", "e.yaml", "-o", "digest").out == wanted


def test_anchors_and_merge_keys_of_manifests_are_kubectl_s() -> None:
    write(WITH_PODS)
    write(
        POD.replace("{name: a}", "&m {labels: {x: z}, name: a}")
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {<<: {labels: {x: z}}, name: b}\n"
        "spec: {containers: [{name: c, image: &i x}, {name: d, image: *i}]}\n",
        "m.yaml",
    )  # fmt: skip
    assert "7 pods" in kubesim("validate", "e.yaml").out


@pytest.mark.parametrize(("override", "message"), [
    ("spec.cluster.nods=3", "did you mean: nodes"), ("spec.workload.7.count=1", "no position"),
    ("=3", "not path=value"), ("spec..a=1", "not path=value"), ("run.seed=[1", "not YAML"),
    ("metadata.name=../../x", "is not a name"), ("run=3", "3 is not a valid mapping"),
    ("cluster.nodes.pools=3", "3 is not a valid list"), ("run.seed=1e400", "too large"),
    ("profile=p.yaml", "no such file"), ("cluster.network.podCidr=hello", "not an address block"),
    ("cluster.network.podCidr=10.0.0.1/16", "the block is 10.0.0.0/16"),
    ("cluster.network.podCidr=10.0.0.0/28", "holds no block of /24"),
    ("cluster.network.podCidrIpv6=10.0.0.0/8", "an IPv6 block such as"),
    ("cluster.network.podCidrIpv6=fd00::/96", "holds no block of /64"),
    ("cluster.network.serviceCidr=10.0.0.0/30", "that of DNS"),
    ("cluster.network.nodeCidr=10.1.0.0/30", "4 addresses for 4 nodes"),
    ("cluster.network.serviceCidr=10.4.0.0/16", "overlaps with podCidr"),
    ("cluster.network.overlay.backend=x", "allowed: vxlan, bgp"),
    ("cluster.controlPlane.etcd.memberCount=0", "0 is not at least 1"),
    ("workload.0.count=", "null is not a valid integer"),
])  # fmt: skip
def test_broken_overrides(override: str, message: str) -> None:
    write(FILE)
    result = run("--set", override)
    assert (result.code, f"--set {override}: error" in result.err) == (104, True)
    assert message in result.err


def test_results_that_cannot_be_written_are_told_before_anything_runs() -> None:
    write(FILE)
    write("", "a-file")
    for out in ("a-file", "a-file/x", "/proc/nowhere"):
        result = run("--out", out)
        assert (result.code, f"{out}: error E042" in result.err) == (104, True)
        assert "TOTALS" not in result.out
    refused = kubesim("calibrate", ".", "-o", "/proc/nowhere/p.yaml")
    assert (refused.code, "E042" in refused.err) == (104, True)


def test_damaged_results_are_told() -> None:
    folder = Path("damaged")
    folder.mkdir()
    for text, message in (("{", "not JSON"), ("[]", "not a manifest"), ("{}", "results schema"),
                          ('{"results_schema": 1}', "damaged: no complete")):  # fmt: skip
        (folder / "manifest.json").write_text(text)
        for command in (["get", "pods"], ["report"], ["export", "openmetrics"], ["list", "runs"]):
            result = kubesim(*command, str(folder))
            assert (result.code, message in result.err) == (104, True), command


def test_explain_knows_nearly_right_settings() -> None:
    for given, meant in (
        ("createPods.cuont", "createPods.count"), ("spec.clustr", "spec.cluster"),
        ("cluster.controlPlane.etdc", "spec.cluster.controlPlane.etcd"),
    ):  # fmt: skip
        assert f"did you mean {meant}?" in kubesim("explain", given).err


def settings_of(cls: type, prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a cluster by its dotted path."""
    for key, info in field_infos(cls).items():
        inner = union_members(info.kind)[0]
        if is_dataclass(inner) and isinstance(inner, type):
            yield from settings_of(inner, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", info


ODD_VALUES = {int: ("0", "1", "-1"), float: ("0", "1", "-1"), str: ("x", '""')}


@pytest.mark.long
@pytest.mark.parametrize("path", [path for path, _ in settings_of(ClusterParams, "cluster")])
def test_no_odd_value_of_any_setting_is_a_defect(path: str) -> None:
    """Zero, one, minus one, a word, an empty list or mapping: refused, or the run ends somehow."""
    write(FILE)
    info = dict(settings_of(ClusterParams, "cluster"))[path]
    kind = union_members(info.kind)[0]
    for value in ODD_VALUES.get(kind, ("[]", "[x]", "{}", "{x: 1}")):
        result = run(
            "-q", "--set", f"{path}={value}", "--set", "run.durationSeconds=30", "--set",
            "run.wallSecondsMax=8", "--set", "outputs={report: false, figures: false}",
        )  # fmt: skip
        assert result.code != 1, f"{path}={value}: {result.err}"
