"""``kubesim get`` against kubectl's habits; tables are kept word for word."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import yaml

from sim.components import facts
from sim.engine.tables import Recorder
from sim.export.run_directory import write_facts
from tests.cli.test_commands import Result, kubesim


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small cluster, drawn by hand: what real rows look like."""
    recorder = Recorder(facts.ALL)
    for index, (namespace, name, node, ip, steps) in enumerate((
        ("kube-system", "etcd-control-plane-0", "control-plane-0", "192.168.0.1", 3),
        ("default", "web-b", "node-1", "10.0.1.2", 3),
        ("default", "web-a", "node-0", "10.0.0.2", 2),
        ("default", "web-c", "", "", 0),
    )):  # fmt: skip
        labels = f"app=web,slot={index}" if namespace == "default" else "component=etcd"
        recorder["pods"].append((0.0, index, namespace, name, "", "", 1, 100, 1, 0, labels))
        transitions = (("scheduled", node), ("network_ready", ip), ("running", ip), ("ready", ip))
        recorder["pod_transitions"].append((0.0, index, "created", name))
        for offset, (transition, detail) in enumerate(transitions[: steps + 1 if steps else 0]):
            recorder["pod_transitions"].append((1.0 + offset, index, transition, detail))
    rows = (
        ("nodes", "", "control-plane-0", {"ready": "True", "unschedulable": False, "taints": [
            "node-role.kubernetes.io/control-plane=:NoSchedule"], "internal_ip": "192.168.0.1"}),
        ("nodes", "", "node-0", {"ready": "True", "unschedulable": True, "taints": [],
                                 "internal_ip": "192.168.0.2"}),
        ("nodes", "", "node-1", {"ready": "Unknown", "unschedulable": False, "taints": [],
                                 "internal_ip": ""}),
        ("services", "default", "web", {"type": "NodePort", "cluster_ip": "172.16.0.7",
                                        "ports": ["80:30080/TCP"], "selector": {"app": "web"}}),
        ("endpointslices", "default", "web-x", {"address_type": "IPv4", "ports": [80],
         "endpoints": ["10.0.0.2", "10.0.1.2", "10.0.2.2"], "endpoint_count": 9}),
        ("deployments", "default", "web", {"desired": 3, "ready": 2, "up_to_date": 3,
                                           "available": 2}),
        ("jobs", "default", "batch", {"completions": 4, "succeeded": 1, "failed": 0, "active": 2,
                                      "condition": ""}),
        ("configmaps", "default", "settings", {}),
    )  # fmt: skip
    for resource, namespace, name, detail in rows:
        labels = {"node-0": "zone=a", "node-1": "gpu=4,zone=b", "web": "app=web"}.get(name, "")
        row = (0.0, resource, namespace, name, "ADDED", json.dumps(detail), labels)
        recorder["objects"].append(row)
    for time, count in ((10.0, 1), (40.0, 2)):
        recorder["events"].append((
            time, "default", "Warning", "FailedScheduling", "Pod", "web-c", "default-scheduler",
            count, "0/3 nodes are available",
        ))  # fmt: skip
    folder = tmp_path_factory.mktemp("run")
    write_facts(folder / "facts", recorder.tables, "csv")
    manifest = {
        "results_schema": 1, "totals": {"simulated_seconds": 100.0}, "complete": True,
        "experiment": "e", "scenario": "base", "seed": 1, "valid": True,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


CASES = (
    "pods", "pods -o wide", "po -A", "pods -n kube-system", "nodes -o wide", "svc -o wide",
    "endpointslices", "deployments.apps", "jobs", "cm", "events", "events -o wide",
    "pods --at 1.5s", "pods -o name", "pods web-a --no-headers", "pods -n empty", "statefulsets -A",
    "pods nobody", "gadgets", "pods --field-selector spec.nodeName=node-1",
    "pods --field-selector status.phase!=Running", "pods -l app=web,slot!=2", "nodes -l gpu>3",
    "nodes -l !gpu,zone", "pods -A -l component=etcd --show-labels", "pods -L app,slot",
    "svc,po -l app=web", "all", "pod/web-a svc/web", "pods,deploy -o name -l app",
    "pods --sort-by .spec.nodeName", "pods,svc -n empty", "po web-a nobody",
    "deploy nobody --ignore-not-found", "deployments.batch", "nod",
)  # fmt: skip


def get(run_folder: str, text: str) -> Result:
    return kubesim("get", *text.split(), run_folder)


def test_tables_word_for_word(run_folder: str, repository_dir: Path) -> None:
    """tests/golden/get.txt holds every table; compare with kubectl before accepting a change."""
    parts = []
    for case in CASES:
        result = get(run_folder, case)
        parts.append(f"$ kubesim get {case}\n{result.out}{result.err}exit {result.code}\n")
    golden = (repository_dir / "tests" / "golden" / "get.txt").read_text(encoding="utf-8")
    assert "\n".join(parts) == golden


def test_documents(run_folder: str) -> None:
    listed = json.loads(get(run_folder, "pods -o json").out)
    assert (listed["kind"], len(listed["items"])) == ("List", 3)
    pod = next(item for item in listed["items"] if item["metadata"]["name"] == "web-b")
    assert pod["status"]["podIP"] == "10.0.1.2"
    assert pod["spec"]["nodeName"] == "node-1"
    assert pod["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert yaml.safe_load(get(run_folder, "pods -o yaml").out) == listed
    service = json.loads(get(run_folder, "svc -o json").out)["items"][0]
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    event = json.loads(get(run_folder, "ev -o json").out)["items"][0]
    assert (event["count"], event["involvedObject"]["name"]) == (2, "web-c")


def test_csv_has_base_units(run_folder: str) -> None:
    rows = list(csv.DictReader(io.StringIO(get(run_folder, "pods -o csv").out)))
    assert [row["name"] for row in rows] == ["web-a", "web-b", "web-c"]
    assert rows[0]["created_seconds"] == "0.0"
    assert get(run_folder, "statefulsets -o csv").out.startswith("name,ready,age")


def test_sets_in_selectors(run_folder: str) -> None:
    text = "slot in (1, 3),app notin (db)"
    found = kubesim("get", "po", "-o", "name", "-l", text, run_folder)
    assert found.out == "pod/web-b\npod/web-c\n"


def test_one_object_is_printed_bare(run_folder: str) -> None:
    assert json.loads(get(run_folder, "pod web-a -o json").out)["kind"] == "Pod"
    assert json.loads(get(run_folder, "pod/web-a -o json").out)["metadata"]["labels"] == {
        "app": "web", "slot": "2",
    }  # fmt: skip
    assert json.loads(get(run_folder, "po,svc -o json").out)["kind"] == "List"


def test_misuse(run_folder: str) -> None:
    assert get(run_folder, "pods -l app=web=x").code == 2
    assert get(run_folder, "pods --at soon").code == 2
    wrong = get(run_folder, "pods --field-selector spec.nodename=red")
    assert (wrong.code, "did you mean spec.nodeName?" in wrong.err) == (2, True)
    assert get(run_folder, "pods --sort-by .spec.nodename").code == 2
    assert get(run_folder, "pods web-a -l app").code == 2
    assert get(run_folder, "pod/web-a web-b").code == 2
    assert kubesim("get", "pods", "/nowhere").code == 104


def test_a_run_without_labels(run_folder: str, tmp_path: Path) -> None:
    """Runs of older versions can be read; asking them for labels is an error."""
    shutil.copytree(run_folder, tmp_path / "old")
    for name in ("pods", "objects"):
        path = tmp_path / "old" / "facts" / f"{name}.csv"
        rows = list(csv.reader(path.read_text().splitlines()))
        with path.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(row[:-1] for row in rows)
    old = str(tmp_path / "old")
    assert get(old, "pods").out == get(run_folder, "pods").out
    refused = get(old, "pods -l app=web")
    assert (refused.code, "recorded no labels" in refused.err) == (104, True)
