"""What a replica does by itself: compaction, consistency checks, bookmarks, housekeeping.

**Source:** `facts/model.md` 0.3, c.3, d.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sim.components.apiserver import APIServer

_HOUSEKEEPING_PERIOD_SECONDS: Final = 0.5
"""How finely the replica's idle work is spread (assumed; it has no rhythm of its own)."""
_BOOKMARK_PERIOD_SECONDS: Final = 60.0
"""**Source:** cacher.go :: defaultBookmarkFrequency."""


class Background:
    """What a replica does by itself: compaction, consistency checks, bookmarks, housekeeping."""

    def __init__(self, server: APIServer) -> None:
        self._server = server
        self._engine = server.engine
        self._last_revision = 0
        self._draw = server.engine.stream(f"apiserver/{server.index}/background")
        self.consistency_check_count = 0
        self.bookmark_count = 0

    def start(self) -> None:
        """Begin all periodic work."""
        params = self._server.params
        self._engine.after(_HOUSEKEEPING_PERIOD_SECONDS, self._keep_house)
        self._engine.after(_BOOKMARK_PERIOD_SECONDS, self._bookmark)
        self._engine.after(params.etcd_compaction_interval_seconds, self._compact)
        self._engine.after(self._check_period_seconds(), self._check)

    def _keep_house(self, _: None) -> None:
        server = self._server
        if server.serving:
            work = server.law.housekeeping_ratio * _HOUSEKEEPING_PERIOD_SECONDS
            server.process.run(work, _ignore)
        self._engine.after(_HOUSEKEEPING_PERIOD_SECONDS, self._keep_house)

    def _bookmark(self, _: None) -> None:
        server = self._server
        if server.serving:
            count = server.fanout.watch_count()
            self.bookmark_count += count
            if count:
                server.process.run(count * server.fanout.law.bookmark_seconds, _ignore)
        self._engine.after(_BOOKMARK_PERIOD_SECONDS, self._bookmark)

    def _compact(self, _: None) -> None:
        """Have etcd forget what is older than one interval; one replica of the group does it."""
        server = self._server
        group = server.group
        now = self._engine.now
        interval = server.params.etcd_compaction_interval_seconds
        revision, self._last_revision = self._last_revision, server.fanout.filled_revision
        compact = getattr(server.storage, "compact", None)
        due = now - group.last_compaction_seconds >= 0.5 * interval
        if server.serving and due and revision and compact is not None:
            group.last_compaction_seconds = now
            compact(revision)
        self._engine.after(interval, self._compact)

    def _check_period_seconds(self) -> float:
        return self._server.params.consistency_check_period_seconds * (
            1.0 + 0.5 * self._draw.uniform()
        )

    def _check(self, _: None) -> None:
        """List every cached resource from etcd and compare digests (one after another)."""
        server = self._server
        if server.serving:
            resources = [name for name, cache in server.fanout.caches.items() if cache.objects]
            self._check_next(iter(resources))
        self._engine.after(self._check_period_seconds(), self._check)

    def _check_next(self, resources: Iterator[str]) -> None:
        resource = next(resources, None)
        if resource is not None and self._server.serving:
            self._server.storage.list_objects(resource, "", 0, self._checked, resources)

    def _checked(self, answer: Any) -> None:
        resources, found, _, _ = answer
        server = self._server
        self.consistency_check_count += 1
        work = sum(server.fanout.law.fill(item.size_bytes) for item in found)
        server.process.run(work, self._check_next, resources)


def _ignore(_: object) -> None:
    return
