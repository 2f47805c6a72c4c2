"""KubeSchedulerConfiguration: defaults, merging, and problems that name the known words."""

from __future__ import annotations

from typing import Any

import pytest

from sim.scheduling import ConfigurationError, SchedulerConfiguration

DEFAULT_WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "DynamicResources": 2,
    "NodeResourcesFit": 1,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
    "VolumeBinding": 1,
}
"""**Source:** facts/model.md (e.2) of the measured data; VolumeBinding: upstream."""


def profile(plugins: dict[str, Any] | None = None, **more: Any) -> Any:
    document = {"profiles": [{"plugins": plugins or {}, **more}]}
    return SchedulerConfiguration.from_dict(document).profiles[0]


def problems(document: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        SchedulerConfiguration.from_dict(document)
    return caught.value.problems


def test_an_empty_document_means_every_default() -> None:
    configuration = SchedulerConfiguration.from_dict({})
    assert configuration.parallelism_count == 16
    assert configuration.pod_initial_backoff_seconds == 1
    assert configuration.pod_max_backoff_seconds == 10
    (only,) = configuration.profiles
    assert only.scheduler_name == "default-scheduler"
    assert only.score_weights == DEFAULT_WEIGHTS
    assert only.plugins["queueSort"] == ("PrioritySort",)
    assert only.plugins["postFilter"] == ("DynamicResources", "DefaultPreemption")
    assert configuration.profile("other") is None


def test_several_profiles_with_their_own_percentage() -> None:
    configuration = SchedulerConfiguration.from_dict(
        {
            "percentageOfNodesToScore": 30,
            "profiles": [
                {"schedulerName": "a"},
                {"schedulerName": "b", "percentageOfNodesToScore": 70},
            ],
        }
    )
    assert [p.percentage_of_nodes_to_score for p in configuration.profiles] == [30, 70]


def test_disabling_everything_of_a_point_and_enabling_one() -> None:
    chosen = profile({
        "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit"}]}
    })  # fmt: skip
    assert chosen.plugins["score"] == ("NodeResourcesFit",)
    assert chosen.score_weights == {"NodeResourcesFit": 1}
    assert "InterPodAffinity" in chosen.plugins["filter"]


def test_multi_point_disables_a_plugin_everywhere_and_reweights_another() -> None:
    chosen = profile({
        "multiPoint": {
            "disabled": [{"name": "InterPodAffinity"}],
            "enabled": [{"name": "ImageLocality", "weight": 9}],
        }
    })  # fmt: skip
    assert not any("InterPodAffinity" in names for names in chosen.plugins.values())
    assert chosen.score_weights["ImageLocality"] == 9


def test_a_specific_weight_overrides_the_multi_point_one() -> None:
    chosen = profile({
        "multiPoint": {"enabled": [{"name": "ImageLocality", "weight": 9}]},
        "score": {"enabled": [{"name": "ImageLocality", "weight": 4}]},
    })  # fmt: skip
    assert chosen.score_weights["ImageLocality"] == 4
    assert chosen.plugins["score"][0] == "ImageLocality"


def test_an_unknown_plugin_names_the_nearest_and_the_known() -> None:
    document = {"profiles": [{"plugins": {"score": {"enabled": [{"name": "NodeResourceFit"}]}}}]}
    ((path, message),) = problems(document)
    assert path == "profiles[0].plugins.score.enabled[0].name"
    assert "did you mean 'NodeResourcesFit'?" in message
    assert "TaintToleration" in message
    assert "NodePorts" not in message  # it cannot score


def test_an_unknown_argument_names_the_known() -> None:
    config = [{"name": "InterPodAffinity", "args": {"hardPodAffinityWheight": 3}}]
    ((path, message),) = problems({"profiles": [{"pluginConfig": config}]})
    assert path == "profiles[0].pluginConfig[0].args.hardPodAffinityWheight"
    assert "did you mean 'hardPodAffinityWeight'?" in message


def test_every_problem_is_reported_at_once() -> None:
    found = problems(
        {
            "kind": "Pod",
            "parallelism": 0,
            "percentageOfNodesToScore": 101,
            "podInitialBackoffSeconds": 20,
            "profiles": [
                {"schedulerName": "a", "pluginConfig": [{"name": "Nonsense"}]},
                {"schedulerName": "a"},
            ],
        }
    )
    assert [path for path, _ in found] == [
        "kind",
        "percentageOfNodesToScore",
        "podMaxBackoffSeconds",
        "profiles[0].pluginConfig[0].name",
        "profiles[1].schedulerName",
        "parallelism",
    ]


@pytest.mark.parametrize(
    ("plugin", "arguments", "word"),
    [
        ("NodeResourcesFit", {"scoringStrategy": {"type": "Least"}}, "unknown strategy"),
        ("NodeResourcesFit",
         {"scoringStrategy": {"type": "RequestedToCapacityRatio"}}, "at least one point"),
        ("NodeResourcesFit",
         {"scoringStrategy": {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {
             "shape": [{"utilization": 50, "score": 1}, {"utilization": 50, "score": 2}]}}},
         "increasing order"),
        ("NodeResourcesFit",
         {"scoringStrategy": {"resources": [{"name": "cpu", "weight": 101}]}}, "valid range"),
        ("NodeResourcesBalancedAllocation",
         {"resources": [{"name": "cpu"}, {"name": "cpu"}]}, "listed twice"),
        ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "valid range"),
        ("DefaultPreemption",
         {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}, "same time"),
        ("PodTopologySpread", {"defaultingType": "System", "defaultConstraints": [
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}, "System"),
        ("PodTopologySpread", {"defaultingType": "List", "defaultConstraints": [
            {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}, "range"),
    ],
)  # fmt: skip
def test_arguments_outside_upstreams_ranges(
    plugin: str, arguments: dict[str, Any], word: str
) -> None:
    found = problems({"profiles": [{"pluginConfig": [{"name": plugin, "args": arguments}]}]})
    assert any(word in message for _, message in found)


def test_extenders_are_refused_rather_than_ignored() -> None:
    ((path, _),) = problems({"extenders": [{"urlPrefix": "http://localhost"}]})
    assert path == "extenders"


def test_a_users_plugin_is_known_where_it_serves() -> None:
    document = {
        "profiles": [
            {
                "plugins": {"score": {"enabled": [{"name": "Mine", "weight": 5}]}},
                "pluginConfig": [{"name": "Mine", "args": {"anything": 1}}],
            }
        ]
    }
    configuration = SchedulerConfiguration.from_dict(document, user_plugins={"Mine": ["score"]})
    assert configuration.profiles[0].score_weights["Mine"] == 5
    assert configuration.profiles[0].user_arguments == {"Mine": {"anything": 1}}
    document["profiles"][0]["plugins"]["filter"] = {"enabled": [{"name": "Mine"}]}  # type: ignore[index]
    with pytest.raises(ConfigurationError, match="unknown plugin 'Mine'"):
        SchedulerConfiguration.from_dict(document, user_plugins={"Mine": ["score"]})
