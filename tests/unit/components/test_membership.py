"""Which pods belong to which Services: the index against a plain search."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.base.objects import LabelSelector, Pod, Service
from sim.components.controllers.membership import PodsByLabel, Selectors
from tests.unit.components.kubelet_rig import PAUSE

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
SELECTOR = st.builds(
    lambda labels, some: LabelSelector(
        tuple(sorted(labels.items())), ((some, "Exists", ()),) if some else ()
    ),
    LABELS,
    st.sampled_from(["", "", "a", "c"]),
)


def _service(index: int, selector: LabelSelector) -> Service:
    return Service(name=f"s{index}", namespace="ns", selector=selector)


@given(st.lists(st.tuples(st.integers(0, 5), SELECTOR, st.booleans()), max_size=20), LABELS)
def test_services_are_those_of_a_plain_search(
    steps: list[tuple[int, LabelSelector, bool]], labels: dict[str, str]
) -> None:
    index, plain = Selectors(), {}
    for number, selector, keep in steps:
        service = _service(number, selector)
        if keep:
            index.put(service)
            plain[service.key] = service
        else:
            index.discard(service.key)
            plain.pop(service.key, None)
    wanted = tuple(key for key, item in plain.items() if item.selector.matches(labels))
    assert index.matching(labels) == wanted
    assert len(index) == len(plain)


@given(st.lists(st.tuples(st.integers(1, 5), LABELS, st.booleans()), max_size=20), SELECTOR)
def test_pods_are_those_of_a_plain_search(
    steps: list[tuple[int, dict[str, str], bool]], selector: LabelSelector
) -> None:
    index, plain = PodsByLabel(), {}
    for uid, labels, keep in steps:
        pod = Pod(name=f"p{uid}", namespace="ns", uid=uid, labels=labels, template=PAUSE)
        if keep:
            index.put(pod)
            plain[uid] = pod
        else:
            index.discard(pod)
            plain.pop(uid, None)
    found = {pod.uid for pod in index.matching(selector)}
    assert found == {uid for uid, pod in plain.items() if selector.matches(pod.labels)}
