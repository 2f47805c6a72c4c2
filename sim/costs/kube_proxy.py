"""Laws of kube-proxy: what one sync of the rule tables carries and how long it takes.

A sync is the sum of four steps: generation of the rules in Go, the listing of what is installed,
the call that applies the payload, and (full iptables syncs) the calls that ensure the jump
chains. Every law takes floats or arrays of shape ``(nodes,)`` and uses arithmetic only, so one
call serves a single node or a fleet. The reasoning is in ``docs/model/kube-proxy.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim.costs.kube_proxy_payload import (
    LARGE_CLUSTER_ENDPOINTS_COUNT,
    FloatArray,
    Real,
    SyncLoad,
    SyncOp,
    iptables_apply_chains_count,
    iptables_apply_rules_count,
    iptables_extra_payload_count,
    iptables_total_chains_count,
    iptables_total_rules_count,
    nftables_apply_chains_count,
    nftables_apply_rules_count,
    nftables_extra_payload_count,
    nftables_total_chains_count,
    nftables_total_elements_count,
    nftables_total_rules_count,
)

__all__ = [
    "LARGE_CLUSTER_ENDPOINTS_COUNT",
    "FloatArray",
    "Real",
    "SyncOp",
    "SyncLoad",
    "SyncSeconds",
    "IptablesNftParams",
    "IptablesLegacyParams",
    "NftablesParams",
    "IpvsParams",
    "KubeProxyParams",
    "cleanup_listing",
    "jitter_mean_ratio",
    "iptables_apply_rules_count",
    "iptables_apply_chains_count",
    "iptables_total_rules_count",
    "iptables_total_chains_count",
    "iptables_extra_payload_count",
    "nftables_apply_rules_count",
    "nftables_apply_chains_count",
    "nftables_total_rules_count",
    "nftables_total_chains_count",
    "nftables_total_elements_count",
    "nftables_extra_payload_count",
]

_SYNC = "measured: kube_proxy_sync.csv"
_REPS = "measured: kube_proxy_sync_reps.csv (spread of repetitions within one block of time)"


def _sourced(default: float, source: str) -> Any:
    return field(default=default, metadata={"source": source})


def _indicator(values: Real) -> Real:
    """1.0 where positive, else 0.0, same shape."""
    flags: Any = values > 0
    indicator: Real = flags * 1.0
    return indicator


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSeconds:
    """The steps of one sync in seconds, floats or arrays of shape ``(nodes,)``.

    ``wait`` is the part of ``apply`` in which nobody computes (RCU grace periods in the kernel).
    """

    generate: Real
    list: Real
    apply: Real
    ensure: Real
    wait: Real

    @property
    def total(self) -> Real:
        """Wall time of the sync on an otherwise idle machine, seconds."""
        return self.generate + self.list + self.apply + self.ensure


# --------------------------------------------------------------------------- laws of sync time
@dataclass(frozen=True, slots=True, kw_only=True)
class IptablesNftParams:
    """iptables 1.8.9 on the nf_tables backend, on the measured 2-core machine.

    ``*_kilo_power_seconds`` multiply (count / 1000) ** ``sorted_list_exponent``: the tool keeps
    chain names in sorted lists and inserts linearly; the exponent is above 2 because a longer
    list also falls out of the processor's caches. Beyond the longest measured list
    (``sorted_list_cold_count``, where a step takes about 0.15 us) growth is quadratic.
    """

    generate_base_seconds: float = _sourced(0.0004831, _SYNC)
    generate_per_service_seconds: float = _sourced(1.048e-05, _SYNC)
    generate_per_payload_rule_seconds: float = _sourced(2.845e-07, _SYNC)
    generate_per_changed_endpoint_seconds: float = _sourced(3.381e-06, _SYNC)
    restore_base_seconds: float = _sourced(0.002712, _SYNC)
    restore_rcu_wait_seconds: float = _sourced(0.0284, _SYNC)
    restore_per_rule_seconds: float = _sourced(3.149e-05, _SYNC)
    restore_chains_kilo_power_seconds: float = _sourced(0.007818, _SYNC)
    restore_services_kilo_power_seconds: float = _sourced(0.001653, _SYNC)
    restore_per_present_endpoint_seconds: float = _sourced(2.411e-06, _SYNC)
    sorted_list_exponent: float = _sourced(2.38, _SYNC)
    sorted_list_cold_count: float = _sourced(
        40_000.0, "assumed: caches exhausted at the longest measured list, kube_proxy_sync.csv"
    )
    save_empty_seconds: float = _sourced(0.002062, _SYNC + " (list_ms, initial_full)")
    save_base_seconds: float = _sourced(0.00266, _SYNC)
    save_per_service_seconds: float = _sourced(4.95e-05, _SYNC)
    save_per_endpoint_seconds: float = _sourced(1.779e-05, _SYNC)
    ensure_initial_seconds: float = _sourced(0.05691, _SYNC)
    ensure_base_seconds: float = _sourced(0.03657, _SYNC)
    ensure_per_service_seconds: float = _sourced(1.559e-05, _SYNC)
    cpu_per_generate_ratio: float = _sourced(1.514, _SYNC)
    cpu_per_list_ratio: float = _sourced(1.05, _SYNC)
    cpu_per_apply_ratio: float = _sourced(0.9845, _SYNC)
    cpu_per_ensure_ratio: float = _sourced(1.051, _SYNC)
    jitter_log_sd: float = _sourced(0.11, _REPS)

    def _sorted_list_ratio(self, names_count: Real) -> Real:
        """Cost of building a sorted list of names, relative to 1,000 names; same shape."""
        cold = np.minimum(names_count, self.sorted_list_cold_count)
        growth: Real = (cold * 0.001) ** (self.sorted_list_exponent - 2.0)
        return names_count * names_count * 1e-6 * growth

    def components(self, load: SyncLoad) -> SyncSeconds:
        """Steps of one sync, seconds. **Source:** fitted to kube_proxy_sync.csv."""
        rules = iptables_apply_rules_count(load)
        chains = iptables_apply_chains_count(load)
        services, endpoints = load.services_count, load.endpoints_count
        present = 1.0 - load.initial
        wait = present * self.restore_rcu_wait_seconds
        apply = (
            self.restore_base_seconds
            + wait
            + self.restore_per_rule_seconds * rules
            + self.restore_chains_kilo_power_seconds * self._sorted_list_ratio(chains)
            + self.restore_services_kilo_power_seconds * self._sorted_list_ratio(services)
            + self.restore_per_present_endpoint_seconds * present * endpoints
        )
        return SyncSeconds(
            generate=self.generate_base_seconds
            + self.generate_per_service_seconds * services
            + self.generate_per_payload_rule_seconds * rules
            + self.generate_per_changed_endpoint_seconds * load.changed_endpoints_count,
            list=load.initial * self.save_empty_seconds
            + present
            * load.cleanup_listing
            * (
                self.save_base_seconds
                + self.save_per_service_seconds * services
                + self.save_per_endpoint_seconds * endpoints
            ),
            apply=apply,
            ensure=load.full
            * (
                load.initial * self.ensure_initial_seconds
                + present * (self.ensure_base_seconds + self.ensure_per_service_seconds * services)
            ),
            wait=wait,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IptablesLegacyParams:
    """iptables 1.8.9, legacy backend: the kernel exchanges whole tables, everything is linear."""

    generate_base_seconds: float = _sourced(0.0003795, _SYNC)
    generate_per_service_seconds: float = _sourced(4.183e-06, _SYNC)
    generate_per_payload_rule_seconds: float = _sourced(5.313e-07, _SYNC)
    generate_per_changed_endpoint_seconds: float = _sourced(7.93e-06, _SYNC)
    restore_base_seconds: float = _sourced(0.0006757, _SYNC)
    restore_per_rule_seconds: float = _sourced(7.191e-06, _SYNC)
    restore_per_present_rule_seconds: float = _sourced(5.062e-06, _SYNC)
    save_empty_seconds: float = _sourced(0.001767, _SYNC + " (list_ms, initial_full)")
    save_base_seconds: float = _sourced(0.001568, _SYNC)
    save_per_service_seconds: float = _sourced(2.854e-06, _SYNC)
    save_per_endpoint_seconds: float = _sourced(4.613e-06, _SYNC)
    ensure_initial_seconds: float = _sourced(0.05464, _SYNC)
    ensure_base_seconds: float = _sourced(0.02812, _SYNC)
    ensure_per_present_rule_seconds: float = _sourced(1.01e-05, _SYNC)
    cpu_per_generate_ratio: float = _sourced(1.47, _SYNC)
    cpu_per_list_ratio: float = _sourced(0.8628, _SYNC)
    cpu_per_apply_ratio: float = _sourced(0.9667, _SYNC)
    cpu_per_ensure_ratio: float = _sourced(1.043, _SYNC)
    jitter_log_sd: float = _sourced(0.082, _REPS)

    def components(self, load: SyncLoad) -> SyncSeconds:
        """Steps of one sync, seconds. **Source:** fitted to kube_proxy_sync.csv."""
        rules = iptables_apply_rules_count(load)
        services, endpoints = load.services_count, load.endpoints_count
        present = 1.0 - load.initial
        present_rules = present * (2.0 * services + 3.0 * endpoints)
        return SyncSeconds(
            generate=self.generate_base_seconds
            + self.generate_per_service_seconds * services
            + self.generate_per_payload_rule_seconds * rules
            + self.generate_per_changed_endpoint_seconds * load.changed_endpoints_count,
            list=load.initial * self.save_empty_seconds
            + present
            * load.cleanup_listing
            * (
                self.save_base_seconds
                + self.save_per_service_seconds * services
                + self.save_per_endpoint_seconds * endpoints
            ),
            apply=self.restore_base_seconds
            + self.restore_per_rule_seconds * rules
            + self.restore_per_present_rule_seconds * present_rules,
            ensure=load.full
            * (
                load.initial * self.ensure_initial_seconds
                + present * self.ensure_base_seconds
                + self.ensure_per_present_rule_seconds * present_rules
            ),
            wait=0.0 * rules,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NftablesParams:
    """nft 1.0.6 on Linux 6.18; one service port is one anonymous kernel set.

    Naming a new set scans all sets of the table (``set_scan``); finding it again within the
    transaction scans the transaction, which is cheap until the transaction outgrows the caches
    (``transaction_scan``, reached around ``transaction_cold_kilo_services``).
    """

    generate_base_seconds: float = _sourced(0.0005046, _SYNC)
    generate_per_service_seconds: float = _sourced(1.863e-05, _SYNC)
    generate_per_endpoint_seconds: float = _sourced(1.463e-06, _SYNC)
    generate_per_emitted_service_seconds: float = _sourced(5.089e-06, _SYNC)
    generate_per_emitted_endpoint_seconds: float = _sourced(5.766e-07, _SYNC)
    nft_base_seconds: float = _sourced(0.0027, _SYNC + " (apply_ms of an empty transaction)")
    nft_commit_wait_seconds: float = _sourced(0.01531, _SYNC)
    nft_per_service_seconds: float = _sourced(6.673e-05, _SYNC)
    nft_per_endpoint_seconds: float = _sourced(5.44e-06, _SYNC)
    nft_per_present_service_seconds: float = _sourced(4.764e-06, _SYNC)
    set_scan_step_seconds: float = _sourced(1.567e-07, _SYNC)
    transaction_scan_step_seconds: float = _sourced(
        7.456e-07, _SYNC + "; published: iss139513-full (44,125 services)"
    )
    transaction_cold_kilo_services: float = _sourced(9.908, _SYNC)
    transaction_replace_ratio: float = _sourced(2.111, _SYNC)
    list_initial_seconds: float = _sourced(0.01804, _SYNC + " (list_ms, initial_full)")
    list_base_seconds: float = _sourced(0.005384, _SYNC)
    list_per_service_seconds: float = _sourced(5.981e-05, _SYNC)
    list_per_endpoint_seconds: float = _sourced(4.451e-06, _SYNC)
    list_per_service_pair_seconds: float = _sourced(
        2.622e-08, _SYNC + "; published: iss139513-list (44,125 services)"
    )
    list_full_base_seconds: float = _sourced(0.01866, _SYNC)
    list_full_per_service_seconds: float = _sourced(1.511e-05, _SYNC)
    cpu_per_generate_ratio: float = _sourced(1.336, _SYNC)
    cpu_per_list_ratio: float = _sourced(1.01, _SYNC)
    cpu_per_apply_ratio: float = _sourced(1.005, _SYNC)
    jitter_log_sd: float = _sourced(0.149, _REPS)

    def components(self, load: SyncLoad) -> SyncSeconds:
        """Steps of one sync, seconds. **Source:** fitted to kube_proxy_sync.csv."""
        full, present = load.full, 1.0 - load.initial
        services, endpoints = load.services_count, load.endpoints_count
        emitted = full * services + (1.0 - full) * load.changed_services_count
        emitted_endpoints = full * endpoints + (1.0 - full) * load.changed_endpoints_count
        changes = _indicator(emitted)
        replace = 1.0 + full * present * (self.transaction_replace_ratio - 1.0)
        fill = (emitted * 0.001 * replace / self.transaction_cold_kilo_services) ** 4
        pairs = emitted * emitted * 0.5
        wait = changes * self.nft_commit_wait_seconds
        apply = (
            self.nft_base_seconds
            + wait
            + self.nft_per_service_seconds * emitted
            + self.nft_per_endpoint_seconds * emitted_endpoints
            + self.nft_per_present_service_seconds * changes * present * services
            + self.set_scan_step_seconds * (emitted * present * services + pairs)
            + self.transaction_scan_step_seconds * pairs * (fill / (1.0 + fill))
        )
        return SyncSeconds(
            generate=self.generate_base_seconds
            + self.generate_per_service_seconds * services
            + self.generate_per_endpoint_seconds * endpoints
            + self.generate_per_emitted_service_seconds * emitted
            + self.generate_per_emitted_endpoint_seconds * emitted_endpoints,
            list=load.initial * self.list_initial_seconds
            + present
            * (
                self.list_base_seconds
                + self.list_per_service_seconds * services
                + self.list_per_endpoint_seconds * endpoints
                + self.list_per_service_pair_seconds * services * services
                + full
                * (self.list_full_base_seconds + self.list_full_per_service_seconds * services)
            ),
            apply=apply,
            ensure=0.0 * services,
            wait=wait,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsParams:
    """IPVS mode (deprecated): nothing was measured, every value is assumed or borrowed.

    One netlink call is taken from the measured cost of programming one overlay entry. The
    published figures for one added rule (0.8 ms at 1 service to 1.5 ms at 20,000) bound the
    growth of a change with the number of services; they are not reproduced.
    """

    fixed_tools_seconds: float = _sourced(
        0.050, "assumed: about 16 ipset and iptables-restore processes of 2-3 ms"
    )
    netlink_call_seconds: float = _sourced(
        2.9e-05, "measured: overlay_remote_node_entries.csv (one netlink call, as a stand-in)"
    )
    generate_per_service_seconds: float = _sourced(
        1.05e-05, "assumed: as iptables, kube_proxy_sync.csv"
    )
    dump_per_endpoint_seconds: float = _sourced(
        3e-06, "measured: overlay_remote_node_entries.csv (list_all per entry, as a stand-in)"
    )
    calls_per_new_service_count: float = _sourced(
        4.0, "assumed: address, virtual server look-up and creation, set entry"
    )
    calls_per_changed_endpoint_count: float = _sourced(2.0, "assumed: add new, remove old")
    jitter_log_sd: float = _sourced(0.12, "assumed: as iptables, kube_proxy_sync_reps.csv")
    cpu_per_sync_ratio: float = _sourced(0.9, "assumed: as nftables, kube_proxy_sync.csv")

    def components(self, load: SyncLoad) -> SyncSeconds:
        """Steps of one sync, seconds. Every service is looked up on every sync.

        **Source:** upstream pkg/proxy/ipvs/proxier.go (what is called), parameters assumed.
        """
        services, endpoints = load.services_count, load.endpoints_count
        new_services = load.initial * services
        changed = load.initial * endpoints + (1.0 - load.initial) * load.changed_services_count
        calls = (
            self.calls_per_new_service_count * new_services
            + self.calls_per_changed_endpoint_count * changed
        )
        return SyncSeconds(
            generate=self.generate_per_service_seconds * services,
            list=self.netlink_call_seconds * services + self.dump_per_endpoint_seconds * endpoints,
            apply=self.fixed_tools_seconds + self.netlink_call_seconds * calls,
            ensure=0.0 * services,
            wait=0.0 * services,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeProxyParams:
    """Laws of all proxy modes; ``speed_ratio`` > 1 is a machine slower than the measured one."""

    iptables_nf_tables: IptablesNftParams = field(default_factory=IptablesNftParams)
    iptables_legacy: IptablesLegacyParams = field(default_factory=IptablesLegacyParams)
    nftables: NftablesParams = field(default_factory=NftablesParams)
    ipvs: IpvsParams = field(default_factory=IpvsParams)
    speed_ratio: float = _sourced(1.0, _SYNC + " (the measured machine)")

    def mode(
        self, proxy_mode: str, iptables_backend: str = "nf_tables"
    ) -> IptablesNftParams | IptablesLegacyParams | NftablesParams | IpvsParams:
        """The law of one proxy mode.

        Raises:
            ValueError: for a mode or backend that kube-proxy does not have.
        """
        if proxy_mode == "iptables" and iptables_backend == "nf_tables":
            return self.iptables_nf_tables
        if proxy_mode == "iptables" and iptables_backend == "legacy":
            return self.iptables_legacy
        if proxy_mode == "nftables":
            return self.nftables
        if proxy_mode == "ipvs":
            return self.ipvs
        raise ValueError(f"no kube-proxy law for mode {proxy_mode!r}, backend {iptables_backend!r}")

    def sync_seconds(
        self,
        load: SyncLoad,
        proxy_mode: str,
        iptables_backend: str = "nf_tables",
        *,
        normals: Real | None = None,
    ) -> Real:
        """Wall time of one sync in seconds; shape of the load.

        Args:
            load: what the sync does.
            proxy_mode: iptables, nftables or ipvs.
            iptables_backend: nf_tables or legacy.
            normals: pre-drawn standard normals of the load's shape; without them the median.

        **Source:** fitted to kube_proxy_sync.csv, spread from kube_proxy_sync_reps.csv.
        """
        params = self.mode(proxy_mode, iptables_backend)
        seconds = params.components(load).total * self.speed_ratio
        if normals is None:
            return seconds
        return seconds * np.exp(params.jitter_log_sd * normals)

    def sync_cpu_seconds(
        self, load: SyncLoad, proxy_mode: str, iptables_backend: str = "nf_tables"
    ) -> Real:
        """CPU seconds of one sync, kube-proxy and its tools together; shape of the load.

        Waits for RCU grace periods cost none. The work is serial: never more than about one core.

        **Source:** fitted to self_cpu_ms + child_cpu_ms of kube_proxy_sync.csv.
        """
        steps = self.mode(proxy_mode, iptables_backend).components(load)
        return self.cpu_seconds_of(steps, proxy_mode, iptables_backend)

    def cpu_seconds_of(
        self, steps: SyncSeconds, proxy_mode: str, iptables_backend: str = "nf_tables"
    ) -> Real:
        """CPU seconds of a sync whose steps are known; shape of the steps."""
        params = self.mode(proxy_mode, iptables_backend)
        if isinstance(params, IpvsParams):
            return params.cpu_per_sync_ratio * steps.total * self.speed_ratio
        cpu = (
            params.cpu_per_generate_ratio * steps.generate
            + params.cpu_per_list_ratio * steps.list
            + params.cpu_per_apply_ratio * (steps.apply - steps.wait)
        )
        if not isinstance(params, NftablesParams):
            cpu = cpu + params.cpu_per_ensure_ratio * steps.ensure
        return cpu * self.speed_ratio


def cleanup_listing(
    endpoints_count: Real, since_last_listing_seconds: Real, sync_period_seconds: float
) -> Real:
    """1 where an iptables sync lists the nat table for stale chains, else 0.

    Always up to 1,000 endpoints; above that at most once per syncPeriod.

    **Source:** upstream pkg/proxy/iptables/proxier.go; kube_proxy_sync.csv.
    """
    small = np.asarray(endpoints_count) <= LARGE_CLUSTER_ENDPOINTS_COUNT
    due = np.asarray(since_last_listing_seconds) > sync_period_seconds
    listing = (small | due).astype(np.float64)
    return float(listing) if listing.ndim == 0 else listing


def jitter_mean_ratio(jitter_log_sd: float) -> float:
    """Mean of the log-normal jitter factor, whose median is 1."""
    return math.exp(0.5 * jitter_log_sd * jitter_log_sd)
