"""Every code a user can meet, with its title and what to do: the table behind ``explain``.

``E`` stops the command (exit code 104 unless the error's class says otherwise), ``W`` is said and
the run goes on. Codes are never reused; a new one gets the next free number of its group.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple


class CodeInfo(NamedTuple):
    """One line for lists, and a paragraph for ``kubesim explain``."""

    title: str
    explanation: str


CODES: Final = MappingProxyType({
    # --- files and YAML ------------------------------------------------------------------------
    "E001": CodeInfo(
        "file cannot be read",
        "The file does not exist, is a folder, or may not be read. Paths inside an experiment are "
        "resolved against the file that names them.",
    ),
    "E002": CodeInfo(
        "not YAML",
        "The text breaks YAML's grammar at the place shown. Frequent causes: a tab used for "
        "indentation, a missing blank after a colon, an unclosed quote, bytes that are not UTF-8.",
    ),
    "E003": CodeInfo(
        "file ends in the middle",
        "The last document stops inside a value, so the file was probably cut off while it was "
        "written or copied. Fetch it again; nothing of it was used.",
    ),
    "E004": CodeInfo(
        "duplicate key",
        "The same key stands twice in one mapping. YAML readers differ in which one wins, so "
        "neither is taken: remove one. Both places are shown.",
    ),
    "E005": CodeInfo(
        "not one mapping",
        "An experiment file holds exactly one document, and that is a mapping of keys to values. "
        "Kubernetes manifests may hold many documents, each of them a mapping.",
    ),
    "E006": CodeInfo(
        "nested or aliased without bound",
        "Values nested deeper than any real file, and anchors and aliases that refer to "
        "themselves or multiply without bound, are refused.",
    ),
    "E007": CodeInfo("key is not a string", "Keys of mappings are strings; quote this one."),
    "E008": CodeInfo(
        "ambiguous or impossible number",
        "Numbers that YAML 1.1 and 1.2 read differently (leading zeros), and numbers that are not "
        "finite, are refused. Write the decimal value, or quote it if a string is meant.",
    ),
    "E009": CodeInfo(
        "YAML feature not allowed",
        "Explicit tags other than YAML's own scalars, mappings and sequences are refused, and so "
        "are merge keys in experiment files: use `import` there.",
    ),
    # --- values --------------------------------------------------------------------------------
    "E010": CodeInfo(
        "unknown key",
        "The key does not exist here. Nothing is ever ignored silently, since a typo would run "
        "the default. The nearest existing key and the list of allowed ones are shown.",
    ),
    "E011": CodeInfo("missing key", "A key without a default is absent."),
    "E012": CodeInfo(
        "wrong type",
        "The value is of another kind than the field's. A quoted number is a string: remove the "
        "quotes. `yes`, `no`, `on`, `off` are strings in experiment files: write true or false.",
    ),
    "E013": CodeInfo("value out of range", "The value lies outside the range shown."),
    "E014": CodeInfo("unknown value", "Only the values shown are known here."),
    "E015": CodeInfo(
        "malformed quantity",
        "A Kubernetes quantity is a decimal number with an optional suffix: n u m k M G T P E, "
        "Ki Mi Gi Ti Pi Ei, or a decimal exponent: 500m, 512Mi, 1.5, 12e6.",
    ),
    "E016": CodeInfo(
        "malformed duration",
        "A duration is a sequence of decimal numbers with units ns, us, ms, s, m, h: 250ms, "
        "1m30s, 1.5h. A field whose name ends in a unit also accepts a plain number in that unit.",
    ),
    "E017": CodeInfo(
        "unknown apiVersion or kind",
        "The file says it is something this version does not read.",
    ),
    "E018": CodeInfo("wrong unit", "The value's unit does not fit the field's."),
    "E019": CodeInfo("conflicting values", "Two settings exclude each other."),
    # --- experiments ---------------------------------------------------------------------------
    "E020": CodeInfo("imports form a cycle", "A file imports itself, directly or over others."),
    "E021": CodeInfo(
        "malformed --set",
        "`--set` takes a dotted path, an equals sign and a YAML value: "
        "spec.cluster.nodes.count=100, spec.workload.0.count=5.",
    ),
    "E022": CodeInfo(
        "malformed threshold",
        "A threshold is an aggregate, a comparison and a value: p(99) < 1s, avg > 270, "
        "rate < 0.01, count == 0.",
    ),
    "E023": CodeInfo("unknown metric", "The catalogue has no metric of this name."),
    "E024": CodeInfo(
        "malformed sweep",
        "A sweep names axes by dotted path, each with at least one value or a range, and a method.",
    ),
    "E025": CodeInfo("unknown profile", "There is no cost profile of this name."),
    "E026": CodeInfo("unknown experiment", "There is no experiment of this name."),
    # --- cluster and Kubernetes objects --------------------------------------------------------
    "E030": CodeInfo(
        "node without capacity",
        "A Node states neither allocatable nor capacity, or one of cpu, memory, pods is absent or "
        "zero: nothing could ever run on it.",
    ),
    "E031": CodeInfo("no nodes", "The cluster has no node, so that no pod could ever run."),
    "E032": CodeInfo(
        "too large for this machine",
        "The cluster asked for needs more memory than this machine has. Make it smaller, or raise "
        "the limit explicitly.",
    ),
    "E033": CodeInfo(
        "malformed Kubernetes object",
        "The object lacks what its kind requires, or has it in another shape.",
    ),
    "E034": CodeInfo("duplicate object", "Two objects of one kind share namespace and name."),
    "E035": CodeInfo("malformed trace", "A row of the trace cannot be read."),
    "E036": CodeInfo("address space too small", "A block of addresses is too small."),
    "E037": CodeInfo("unknown reference", "A name refers to something that is not defined."),
    # --- runs and results ----------------------------------------------------------------------
    "E040": CodeInfo("not a run folder", "The folder holds no manifest of a run."),
    "E041": CodeInfo("results of another version", "The results' schema is not readable here."),
    "E042": CodeInfo("cannot write results", "The output folder cannot be created or written."),
    "E043": CodeInfo("extra not installed", "An optional dependency is missing."),
    "E044": CodeInfo("assertions are off", "Python was started with -O; checks must stay on."),
    "E045": CodeInfo("replay differs", "The same experiment and seed gave other bytes."),
    "E046": CodeInfo("invariant broken", "The run broke a conservation law and is invalid."),
    "E047": CodeInfo("model limit reached", "A bound of the model was reached."),
    "E048": CodeInfo("budget used up", "Events, wall time or memory ran out before the end."),
    # --- warnings ------------------------------------------------------------------------------
    "W001": CodeInfo("kind not modelled", "Objects of this kind are counted and left out."),
    "W002": CodeInfo("field not modelled", "The field matters in Kubernetes, not in the model."),
    "W003": CodeInfo("Service selects no pod", "The Service's selector matches no pod template."),
    "W004": CodeInfo("pod fits nowhere", "The pod asks for more than any node could ever offer."),
    "W005": CodeInfo("threshold undecided", "The interval over replications straddles the limit."),
    "W006": CodeInfo("assumed constants", "Results depend on constants that nobody measured."),
    "W007": CodeInfo(
        "file may be cut off",
        "The last line has no line end although it can be read; check that the file is complete.",
    ),
    "W008": CodeInfo("outside the validity range", "A law is used beyond what was measured."),
    "W009": CodeInfo("run incomplete", "The run was stopped early; its results are marked so."),
})
"""Code → title and explanation, in the order of the documentation."""
