"""What the simulator's own steps cost: one event, one job, one draw, one row.

Every benchmark asserts the work that it has done; ratios within one run are what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.streams import StreamFactory
from sim.engine.tables import Column, Table, TableSpec
from sim.engine.token_bucket import TokenBucket
from sim.engine.workqueue import Workqueue

Size = Callable[[int, int], int]
TABLE = TableSpec(
    "hops",
    "hops",
    (
        Column("time_seconds", "f8", "when"),
        Column("kind", "text", "which"),
        Column("size_count", "i4", "how many"),
    ),
)


def measure(benchmark: Any, work: Callable[[], Any], count: int) -> Any:
    """Time ``work``, which does ``count`` units; report the cost of one."""
    result = benchmark.pedantic(work, rounds=5, warmup_rounds=1)
    if benchmark.stats is not None:
        benchmark.extra_info["microseconds_each"] = benchmark.stats.stats.min / count * 1e6
    return result


def test_bare_simpy_timeout(benchmark: Any, bench_size: Size) -> None:
    """The yardstick of all budgets: SimPy without anything of ours."""
    count = bench_size(1_000, 100_000)

    def work() -> tuple[float, int]:
        environment = simpy.Environment()
        done = [0]

        def process() -> Generator[Any, Any, None]:
            for _ in range(count):
                yield environment.timeout(1)
                done[0] += 1

        environment.process(process())
        environment.run()
        return environment.now, done[0]

    assert measure(benchmark, work, count) == (count, count)


def test_engine_hop(benchmark: Any, bench_size: Size) -> None:
    """`call_later` and the call."""
    count = bench_size(1_000, 100_000)

    def work() -> tuple[int, int]:
        engine = Engine(0)
        done = [0]

        def hop(left: int) -> None:
            done[0] += 1
            if left:
                engine.call_later(1.0, hop, left - 1)

        engine.call_later(1.0, hop, count - 1)
        engine.run(1e9)
        return done[0], engine.event_count

    assert measure(benchmark, work, count) == (count, count + 1)


def test_engine_hop_among_many(benchmark: Any, bench_size: Size) -> None:
    """The same with 10,000 other timers in the heap."""
    count = bench_size(1_000, 100_000)

    def work() -> int:
        engine = Engine(0)
        done = [0]

        def hop(left: int) -> None:
            done[0] += 1
            if left:
                engine.call_later(0.001, hop, left - 1)

        for index in range(10_000):
            engine.call_later(1e6 + index, hop, 0)
        engine.call_later(0.001, hop, count - 1)
        engine.run(9e5)
        return done[0]

    assert measure(benchmark, work, count) == count


def test_process_hop(benchmark: Any, bench_size: Size) -> None:
    """A generator that sleeps."""
    count = bench_size(1_000, 100_000)

    def work() -> int:
        engine = Engine(0)
        done = [0]

        def process() -> Generator[Any, Any, None]:
            for _ in range(count):
                yield engine.sleep(1.0)
                done[0] += 1

        engine.process(process())
        engine.run(1e9)
        return done[0]

    assert measure(benchmark, work, count) == count


def host_work(job_count: int, clients: int, cores: int) -> tuple[int, float]:
    """Closed-loop clients that each submit the next job when the last has ended."""
    engine = Engine(0)
    host = Host(engine, "h", cores)
    process = host.process("p")
    left = [job_count]

    def again(client: int) -> None:
        if left[0] > 0:
            left[0] -= 1
            process.run(0.001 + client * 1e-6, again, client)

    for client in range(clients):
        again(client)
    engine.run(1e9)
    assert host.check() == []
    return host.job_count, host.work_seconds


def test_host_job_direct(benchmark: Any, bench_size: Size) -> None:
    """4 jobs on 8 cores: every job has its own timer."""
    count = bench_size(1_000, 50_000)
    done, seconds = measure(benchmark, lambda: host_work(count, 4, 8), count)
    assert done == count
    assert 0.001 * count <= seconds <= 0.00101 * count


def test_host_job_shared(benchmark: Any, bench_size: Size) -> None:
    """64 jobs on 8 cores: all in one heap."""
    count = bench_size(1_000, 50_000)
    done, seconds = measure(benchmark, lambda: host_work(count, 64, 8), count)
    assert done == count
    assert 0.001 * count <= seconds <= 0.0011 * count


def test_token_reservation(benchmark: Any, bench_size: Size) -> None:
    count = bench_size(1_000, 100_000)

    def work() -> TokenBucket:
        bucket = TokenBucket(5.0, 10)
        for index in range(count):
            bucket.reserve(index * 0.1)
        return bucket

    bucket = measure(benchmark, work, count)
    assert bucket.granted_count == count
    assert bucket.waited_count > 0.9 * count


def test_workqueue_hop(benchmark: Any, bench_size: Size) -> None:
    """Add, hand over to a worker, done."""
    count = bench_size(1_000, 30_000)

    def work() -> Workqueue[int]:
        engine = Engine(0)
        queue: Workqueue[int] = Workqueue(engine, "q")

        def worker() -> Generator[Any, Any, None]:
            while True:
                queue.done((yield queue.get()))

        engine.process(worker())
        for index in range(count):
            engine.call_later(index * 0.001, queue.add, index)
        engine.run(1e9)
        return queue

    queue = measure(benchmark, work, count)
    assert queue.get_count == queue.add_count == count


def test_stream_draw(benchmark: Any, bench_size: Size) -> None:
    """One exponential draw out of a block."""
    count = bench_size(1_000, 100_000)

    def work() -> float:
        draw = StreamFactory(0, 0).stream("x").exponential
        total = 0.0
        for _ in range(count):
            total += draw(1.0)
        return total

    assert abs(measure(benchmark, work, count) / count - 1.0) < 0.15


def test_table_append(benchmark: Any, bench_size: Size) -> None:
    """One row, packing included."""
    count = bench_size(1_000, 150_000)

    def work() -> Table:
        table = Table(TABLE)
        append = table.append
        for index in range(count):
            append((1.5, "a" if index & 1 else "b", index))
        table.column("kind")
        return table

    table = measure(benchmark, work, count)
    assert len(table) == count
    assert int(table.column("size_count").sum()) == count * (count - 1) // 2
    assert int(table.mask_equal("kind", "a").sum()) == count // 2
