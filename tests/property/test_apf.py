"""Priority and fairness against its readable twin, its formulas and its own invariants."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.components.priority_and_fairness import Level, Ticket
from sim.components.priority_and_fairness_config import (
    BUILT_IN_LEVELS,
    PriorityLevel,
    classify,
    full_groups,
    parse_flow_schema,
    parse_priority_level,
    with_built_in_levels,
    with_built_in_schemas,
)
from sim.components.priority_and_fairness_formulas import (
    RetryAfter,
    allocate,
    deal_hand,
    flow_hash,
    list_seats,
    mutating_width,
    nominal_seats,
)
from sim.components.priority_and_fairness_reference import Job, TwinLevel
from sim.engine.engine import Engine

# ------------------------------------------------------------------------------ dealing a hand


@given(st.integers(0, 2**64 - 1), st.integers(1, 128), st.data())
def test_a_hand_is_dealt_like_cards_from_a_shrinking_deck(
    value: int, queues: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, min(queues, 8)))
    hand = deal_hand(value, queues, size)
    assert hand == TwinLevel(queues, size, 50, 10).hand(value)
    assert len(set(hand)) == size


@given(st.integers(0, 2**64 - 1))
def test_a_hand_equals_upstreams_formula(value: int) -> None:
    """remainders[i] = hash mod (deck - i); a card moves past each earlier remainder it reaches."""
    remainders, rest = [], value
    for index in range(6):
        rest, remainder = divmod(rest, 128 - index)
        remainders.append(remainder)
    expected = []
    for index, card in enumerate(remainders):
        for earlier in range(index - 1, -1, -1):
            if card >= remainders[earlier]:
                card += 1
        expected.append(card)
    assert deal_hand(value, 128, 6) == expected


def test_the_flow_hash_is_the_first_eight_bytes_of_sha256() -> None:
    digest = hashlib.sha256(b"service-accounts\x00bob").digest()
    assert flow_hash("service-accounts", "bob") == int.from_bytes(digest[:8], "little")


# ------------------------------------------------------------------------------ lockstep twin


class Harness:
    """A level whose requests take given times, driven together with its twin."""

    def __init__(self, queues: int, hand: int, length: int, seats: int) -> None:
        self.engine = Engine(1)
        spec = PriorityLevel(
            name="x", queue_count=queues, hand_size_count=hand, queue_length_limit_count=length
        )
        self.level = Level(self.engine, spec, seats, 600, 1e6)
        self.level.light_limit_seats = 0
        self.twin = TwinLevel(queues, hand, length, seats)
        self.log: list[tuple[str, float, str]] = []
        self.twin_log: list[tuple[str, float, str]] = []

    def arrive(self, job: Job, hash_value: int, service: float) -> None:
        engine = self.engine

        def decided(name: Any, admitted: bool) -> None:
            self.log.append((name, round(engine.now, 9), "start" if admitted else "reject"))
            if admitted:
                engine.call_later(service, lambda _: finish())

        def finish() -> None:
            self.level.finish(ticket)
            self.note(self.twin.finish(job, engine.now))
            if job.state == "lingering":
                engine.call_later(job.additional_seconds, lambda _: release())

        def release() -> None:
            self.note(self.twin.release(job, engine.now))

        ticket = Ticket(
            job.initial_seats, job.final_seats, job.additional_seconds, decided, job.name
        )
        self.level.submit(ticket, hash_value)
        self.note(self.twin.arrive(job, hash_value, engine.now))
        if job.state == "rejected":
            self.twin_log.append((job.name, round(engine.now, 9), "reject"))

    def note(self, started: list[Job]) -> None:
        for job in started:
            self.twin_log.append((job.name, round(self.engine.now, 9), "start"))


requests = st.lists(
    st.tuples(
        st.integers(0, 40),  # arrival, ms after the one before
        st.integers(0, 5),  # flow
        st.integers(1, 60),  # service, ms
        st.sampled_from([(1, 0, 0), (1, 0, 0), (3, 0, 0), (1, 2, 5), (1, 4, 20), (9, 0, 0)]),
    ),
    min_size=1,
    max_size=60,
)


@given(requests, st.integers(1, 8), st.integers(1, 4), st.integers(1, 5))
def test_fast_level_and_readable_twin_agree(
    arrivals: Any, seats: int, hand: int, length: int
) -> None:
    harness = Harness(8, hand, length, seats)
    now = 0.0
    for index, (gap, flow, service, (initial, final, tail)) in enumerate(arrivals):
        # unequal fractions of a millisecond keep events of different origin apart
        now += gap / 1000.0 + 1e-6 * (index + 1)
        job = Job(f"r{index}", initial, final, tail / 1000.0)
        value = flow_hash("s", str(flow))
        harness.engine.call_at(
            now, lambda a: harness.arrive(*a), (job, value, service / 1000.0 + 1.3e-7 * index)
        )
    harness.engine.run(1e5)
    assert sorted(harness.log) == sorted(harness.twin_log)
    assert harness.level.seats_in_use == 0
    assert harness.level.waiting_count == 0


# ---------------------------------------------------------------------------------- invariants


def run_flows(
    seats: int, clients: dict[str, int], service: float, seconds: float
) -> tuple[dict[str, int], Level, list[float]]:
    """Closed-loop clients per flow on one level; return served counts and idle-while-waiting."""
    engine = Engine(1)
    spec = PriorityLevel(name="x", queue_count=64, hand_size_count=6, queue_length_limit_count=50)
    level = Level(engine, spec, seats, 600, 15.0)
    level.light_limit_seats = 0
    served = dict.fromkeys(clients, 0)
    wasted: list[float] = []

    def submit(flow: str) -> None:
        held: list[Ticket] = []

        def decided(_: Any, admitted: bool) -> None:
            if not admitted:
                engine.call_later(1.0, lambda _: submit(flow))
                return
            engine.call_later(service, done)

        def done(_: Any) -> None:
            level.finish(held[0])
            served[flow] += 1
            if level.waiting_count and level.seats_in_use < seats:
                wasted.append(engine.now)
            submit(flow)

        held.append(Ticket(1, 0, 0.0, decided, None))
        level.submit(held[0], flow_hash("s", flow))

    for flow, count in clients.items():
        for _ in range(count):
            submit(flow)
    engine.run(seconds)
    return served, level, wasted


def test_work_is_conserved() -> None:
    """With more requests than seats, every seat is always busy: throughput = seats / service."""
    served, _, wasted = run_flows(10, {"a": 60, "b": 3}, 0.01, 5.0)
    assert wasted == []
    assert sum(served.values()) == pytest.approx(10 / 0.01 * 5.0, rel=0.01)


def test_flows_with_enough_demand_share_seats_evenly() -> None:
    """Whoever keeps more requests waiting than its share gets its share, not more."""
    served, _, _ = run_flows(8, {"greedy": 300, "modest": 16}, 0.02, 20.0)
    # each flow spreads over at most 6 queues, all of them backlogged: one share per queue
    assert served["modest"] / sum(served.values()) > 0.35


def test_nobody_starves() -> None:
    served, level, _ = run_flows(2, {"greedy": 280, "tiny": 1}, 0.02, 20.0)
    assert served["tiny"] > 20
    assert level.timed_out_count == 0 or served["tiny"] > 0


def test_waiting_longer_than_the_limit_is_rejected() -> None:
    _, level, _ = run_flows(1, {"a": 100}, 1.0, 60.0)
    assert level.timed_out_count > 0
    assert level.rejected_count >= level.timed_out_count


def test_a_light_level_counts_seats_in_and_out() -> None:
    engine = Engine(1)
    spec = PriorityLevel(name="x", queue_count=64, hand_size_count=6, queue_length_limit_count=50)
    level = Level(engine, spec, 10, 600, 15.0)
    assert [level.try_light() for _ in range(8)] == [True] * 7 + [False]
    for _ in range(7):
        level.end_light(0.5)
    assert level.seats_in_use == 0
    engine.run(10.0)
    mean, deviation, peak = level.end_period(10.0)
    assert mean == pytest.approx(0.35)
    assert deviation == pytest.approx(0.35**0.5)
    assert peak == 7


# ------------------------------------------------------------------------ limits and borrowing


def test_nominal_limits_of_the_built_in_levels() -> None:
    """facts/defaults.csv, derived limits at 600 and the measured ones at 30."""
    at_600 = nominal_seats(BUILT_IN_LEVELS, 600)
    assert at_600 == {
        "exempt": 0, "catch-all": 13, "system": 74, "node-high": 98, "leader-election": 25,
        "workload-high": 98, "workload-low": 245, "global-default": 49,
    }  # fmt: skip
    specs = {spec.name: spec for spec in BUILT_IN_LEVELS}
    engine = Engine(1)
    for name, least, most in [
        ("system", 50, 674),
        ("node-high", 73, 698),
        ("leader-election", 25, 625),
        ("workload-high", 49, 698),
        ("workload-low", 24, 845),
        ("global-default", 24, 649),
        ("catch-all", 13, 613),
    ]:
        level = Level(engine, specs[name], at_600[name], 600, 15.0)
        assert (level.min_seats, level.max_seats) == (least, most), name
    for name, limit in {
        "system": 12,
        "node-high": 15,
        "leader-election": 4,
        "workload-high": 15,
        "workload-low": 37,
        "global-default": 8,
    }.items():
        level = Level(engine, specs[name], at_600[name], 600, 15.0)
        assert level.seats_per_request_max == limit, name


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.floats(0.0, 200.0), st.integers(0, 600)),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 600),
)
def test_borrowing_gives_everything_away_within_bounds(rows: Any, total: int) -> None:
    shaped = [
        (float(least), max(float(least), target, 0.1), float(least + more))
        for least, target, more in rows
    ]
    given_seats = allocate(float(total), shaped)
    floor = sum(least for least, _, _ in shaped)
    ceiling = sum(most for _, _, most in shaped)
    assert sum(given_seats) == pytest.approx(max(min(total, ceiling), 0.0), rel=1e-9, abs=1e-6)
    if floor < total:
        for seats, (least, _, most) in zip(given_seats, shaped, strict=True):
            assert least - 1e-9 <= seats <= most + 1e-9
        inner = [
            seats / target
            for seats, (least, target, most) in zip(given_seats, shaped, strict=True)
            if least + 1e-6 < seats < most - 1e-6
        ]
        if inner:
            assert max(inner) == pytest.approx(min(inner), rel=1e-6)


# --------------------------------------------------------------------------------------- seats


@pytest.mark.parametrize(
    ("watchers", "cap", "expected"),
    [
        (9, 15, (0, 0.0)),
        (10, 15, (1, 0.005)),
        (95, 15, (10, 0.005)),
        (1000, 15, (10, 0.050)),
        (5000, 15, (10, 0.250)),
        (5000, 4, (4, 0.625)),
    ],
)
def test_the_tail_of_writes_that_many_watch(
    watchers: int, cap: int, expected: tuple[int, float]
) -> None:
    """facts b.3: 10 seats for 50 ms at 1,000 watchers, for 250 ms at 5,000; area preserved."""
    final, additional = mutating_width(watchers, cap)
    assert (final, pytest.approx(additional)) == expected


def test_seats_of_lists() -> None:
    assert list_seats(500, 3100.0, 0, from_cache=True, selective=False) == 10
    assert list_seats(100, 3100.0, 0, from_cache=True, selective=False) == 4
    assert list_seats(150_000, 3100.0, 0, from_cache=True, selective=False) == 10
    assert list_seats(150_000, 3100.0, 0, from_cache=False, selective=False) == 100
    assert list_seats(150_000, 3100.0, 500, from_cache=False, selective=False) == 16
    assert list_seats(0, 0.0, 0, from_cache=True, selective=False) == 1


def test_retry_after_doubles_while_rejections_stay_high() -> None:
    tracker = RetryAfter()
    told = []
    for second in range(40):
        for _ in range(500):
            tracker.record(second + 0.5)
        told.append(tracker.seconds)
    assert told[0] == 1
    assert max(told) == 32
    assert told == sorted(told)


# ------------------------------------------------------------------------------ classification


@pytest.mark.parametrize(
    ("user", "groups", "verb", "group", "resource", "schema", "level"),
    [
        ("system:node:n1", ("system:nodes",), "update", "coordination.k8s.io", "leases",
         "system-node-high", "node-high"),
        ("system:node:n1", ("system:nodes",), "patch", "", "nodes/status", "system-node-high",
         "node-high"),
        ("system:node:n1", ("system:nodes",), "patch", "", "pods/status", "system-nodes",
         "system"),
        ("system:kube-scheduler", (), "update", "coordination.k8s.io", "leases",
         "system-leader-election", "leader-election"),
        ("system:kube-scheduler", (), "create", "", "pods/binding", "kube-scheduler",
         "workload-high"),
        ("system:serviceaccount:kube-system:replicaset-controller", (), "create", "", "pods",
         "kube-system-service-accounts", "workload-high"),
        ("system:serviceaccount:kube-flannel:flannel", (), "patch", "", "nodes",
         "service-accounts", "workload-low"),
        ("kubernetes-admin", ("kubeadm:cluster-admins",), "list", "", "pods", "global-default",
         "global-default"),
        ("root", ("system:masters",), "list", "", "pods", "exempt", "exempt"),
        ("system:anonymous", (), "get", "", "pods", "global-default", "global-default"),
    ],
)  # fmt: skip
def test_the_usual_clients_land_where_upstream_puts_them(
    user: str, groups: Any, verb: str, group: str, resource: str, schema: str, level: str
) -> None:
    """facts 0.2."""
    schemas = with_built_in_schemas(())
    full = full_groups(user, groups)
    found = classify(schemas, user, full, verb, group, resource, "default")
    assert (found.name, found.priority_level) == (schema, level)


def test_own_manifests_come_before_what_they_outrank() -> None:
    own = parse_flow_schema(
        {
            "kind": "FlowSchema",
            "metadata": {"name": "list-events-default-service-account"},
            "spec": {
                "distinguisherMethod": {"type": "ByUser"},
                "matchingPrecedence": 8000,
                "priorityLevelConfiguration": {"name": "catch-all"},
                "rules": [
                    {
                        "resourceRules": [
                            {
                                "apiGroups": ["*"],
                                "namespaces": ["default"],
                                "resources": ["events"],
                                "verbs": ["list"],
                            }
                        ],
                        "subjects": [
                            {
                                "kind": "ServiceAccount",
                                "serviceAccount": {"name": "default", "namespace": "default"},
                            }
                        ],
                    }
                ],
            },
        }
    )
    schemas = with_built_in_schemas([own])
    user = "system:serviceaccount:default:default"
    groups = full_groups(user, ())
    assert classify(schemas, user, groups, "list", "", "events", "default") is own
    assert classify(schemas, user, groups, "list", "", "events", "other") is not own
    assert classify(schemas, user, groups, "get", "", "events", "default") is not own


def test_a_level_of_ones_own_has_the_apis_defaults() -> None:
    level = parse_priority_level(
        {
            "metadata": {"name": "mine"},
            "spec": {
                "type": "Limited",
                "limited": {"limitResponse": {"type": "Queue", "queuing": {}}},
            },
        }
    )
    assert level.nominal_concurrency_shares_count == 30
    assert (level.queue_count, level.hand_size_count, level.queue_length_limit_count) == (64, 8, 50)
    assert level in with_built_in_levels([level])
