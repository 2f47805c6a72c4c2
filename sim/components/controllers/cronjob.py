"""CronJob controller: creates Jobs by the clock.

**Modelled:** five-field schedules (lists, ranges, steps, names, @hourly and the like) in UTC,
concurrency policy, suspension, the missed run that is caught up, status. Simulated time 0 is
midnight UTC of Thursday, 1 January 1970.
**Not modelled:** time zones, starting deadline, history limits.
**Source:** upstream pkg/controller/cronjob; the schedule grammar of robfig/cron v3's standard
parser: day of month and day of week are alternatives when both are restricted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from sim.base.api_object import Key, OwnerReference
from sim.base.objects import CronJob, Job
from sim.components.controllers.base import ERROR, OK, Controller, ControllerContext, Sync
from sim.components.ports import Request

_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
]  # fmt: skip
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_BOUNDS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_MINUTE_SECONDS: Final = 60
_DAY_MINUTES: Final = 1440
_HORIZON_DAYS: Final = 366 * 5
"""A schedule that never fires within five years never fires. **Source:** robfig/cron."""


class CronSchedule(NamedTuple):
    """The minutes, hours, days, months and weekdays at which a schedule fires."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def matches_day(self, day_number: int) -> bool:
        """Whether the schedule fires on a day, counted from 1970-01-01."""
        _, month, day = civil(day_number)
        if month not in self.months:
            return False
        in_month = day in self.days
        in_week = (day_number + 4) % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week

    def next_after(self, time_seconds: float) -> float:
        """Return the first time after ``time_seconds`` at which it fires, -1 if there is none."""
        minute = int(time_seconds // _MINUTE_SECONDS) + 1
        day = minute // _DAY_MINUTES
        first = minute % _DAY_MINUTES
        for day_number in range(day, day + _HORIZON_DAYS):
            if self.matches_day(day_number):
                for hour in sorted(self.hours):
                    for of_hour in sorted(self.minutes):
                        if hour * 60 + of_hour >= first:
                            total = day_number * _DAY_MINUTES + hour * 60 + of_hour
                            return float(total * _MINUTE_SECONDS)
            first = 0
        return -1.0


def civil(day_number: int) -> tuple[int, int, int]:
    """Return (year, month, day) of a day counted from 1970-01-01, in the Gregorian calendar.

    **Source:** H. Hinnant, "chrono-compatible low-level date algorithms" (days to civil).
    """
    shifted = day_number + 719468
    era, of_era = divmod(shifted, 146097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    index = (5 * of_year + 2) // 153
    month = index + 3 if index < 10 else index - 9
    day = of_year - (153 * index + 2) // 5 + 1
    return year_of_era + era * 400 + (month <= 2), month, day


def _number(text: str, names: list[str], offset: int) -> int:
    lowered = text.lower()
    if lowered in names:
        return names.index(lowered) + offset
    return int(text)


def _field(text: str, bounds: tuple[int, int], names: list[str], offset: int) -> frozenset[int]:
    low, high = bounds
    chosen: set[int] = set()
    for part in text.split(","):
        span, _, step_text = part.partition("/")
        step = int(step_text) if step_text else 1
        if span in {"*", "?"}:
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, names, offset)
            last = _number(end, names, offset) if dash else (high if step_text else first)
        if names is _DAYS:
            first, last = (0, 0) if first == last == 7 else (first, last)
        if step < 1 or not low <= first <= last <= high:
            raise ValueError(f"{part!r} is outside {low}-{high}")
        chosen.update(range(first, last + 1, step))
    return frozenset(chosen)


@lru_cache(maxsize=1024)
def parse_schedule(text: str) -> CronSchedule:
    """Read a schedule. Raises ValueError with the reason if it is none."""
    fields = _MACROS.get(text.strip(), text).split()
    if len(fields) != 5:
        raise ValueError(f"a schedule has five fields, {text!r} has {len(fields)}")
    names: tuple[list[str], ...] = ([], [], [], _MONTHS, _DAYS)
    sets = [
        _field(part, bounds, words, 1 if words is _MONTHS else 0)
        for part, bounds, words in zip(fields, _BOUNDS, names, strict=True)
    ]
    return CronSchedule(
        sets[0], sets[1], sets[2], sets[3], sets[4],
        fields[2][0] in "*?", fields[4][0] in "*?",
    )  # fmt: skip


class CronJobController(Controller):
    """Keys are cron jobs."""

    name = "cronjob"
    service_account = "cronjob-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count)
        self._cron_jobs = context.informer("cronjobs")
        self._jobs = context.owner_index("jobs")
        self._cron_jobs.add_handler(self._cron_job_changed)
        context.informer("jobs").add_handler(self._job_changed)

    def _cron_job_changed(self, kind: str, new: CronJob, old: CronJob | None) -> None:
        self.queue.add(new.key)

    def _job_changed(self, kind: str, new: Job, old: Job | None) -> None:
        if new.owner is not None and new.owner.kind == "CronJob":
            self.queue.add((new.namespace, new.owner.name))

    def sync(self, key: Key) -> Sync:
        """Create the Job that is due, if any; come back when the next one is."""
        cron_job = self._cron_jobs.objects.get(key)
        if cron_job is None or cron_job.deletion_seconds >= 0.0 or cron_job.suspend:
            return OK
        schedule = parse_schedule(cron_job.schedule)
        now = self.engine.now
        last = max(cron_job.last_schedule_seconds, cron_job.creation_seconds)
        due = schedule.next_after(last)
        running = [job for job in self._jobs.of(cron_job.uid) if not job.condition]
        new = cron_job.clone()
        if 0.0 <= due <= now:
            following = schedule.next_after(due)
            while 0.0 <= following <= now:  # only the latest missed run is caught up
                due, following = following, schedule.next_after(following)
            if not (running and cron_job.concurrency_policy == "Forbid"):
                if cron_job.concurrency_policy == "Replace":
                    for job in running:
                        yield self.client.call(Request("delete", "jobs", job.namespace, job.name))
                    running = []
                job = self._job(cron_job, due)
                response = yield self.client.call(
                    Request("create", "jobs", job.namespace, job.name, api_object=job)
                )
                if not response.ok and response.code != 409:
                    return ERROR
                self.events.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {job.name}")
                if response.ok:
                    running.append(response.result)
            new.last_schedule_seconds = due
        new.active = tuple(job.name for job in running)
        if new.active != cron_job.active or (
            new.last_schedule_seconds != cron_job.last_schedule_seconds
        ):
            response = yield self.client.call(
                Request(
                    "update", "cronjobs", new.namespace, new.name,
                    subresource="status", api_object=new,
                )
            )  # fmt: skip
            if not response.ok:
                return ERROR
        upcoming = schedule.next_after(max(now, new.last_schedule_seconds))
        if upcoming >= 0.0:
            self.queue.add_after(key, upcoming - self.engine.now)
        return OK

    def _job(self, cron_job: CronJob, due_seconds: float) -> Job:
        return Job(
            name=f"{cron_job.name}-{int(due_seconds // _MINUTE_SECONDS)}",
            namespace=cron_job.namespace,
            labels=cron_job.labels,
            owner=OwnerReference("CronJob", cron_job.name, cron_job.uid),
            template=cron_job.job_template,
            completion_count=cron_job.completion_count,
            parallelism_count=cron_job.parallelism_count,
            backoff_limit_count=cron_job.backoff_limit_count,
        )
