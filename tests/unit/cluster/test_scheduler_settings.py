"""Scheduler settings: inline, from a file, with plugins; and faults told with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.base.errors import UserError
from sim.cluster.params import ControlPlaneParams
from sim.cluster.scheduler_settings import load_plugins, scheduler_settings

PLUGIN = """
import numpy as np

class Even:
    name = "Even"

    def __init__(self, first: int = 0):
        self.first = first

    def filter(self, pod, nodes):
        return np.arange(len(nodes)) % 2 == self.first
"""

CONFIGURATION = """apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
  - schedulerName: one
    plugins:
      filter:
        enabled:
          - name: Even
    pluginConfig:
      - name: Even
        args: {first: 1}
  - schedulerName: two
"""


def _write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_each_profile_has_the_plugins_it_enables_made_with_its_arguments(tmp_path: Path) -> None:
    control = ControlPlaneParams(
        scheduler_configuration_file=_write(tmp_path, "c.yaml", CONFIGURATION),
        scheduler_plugins_file=_write(tmp_path, "p.py", PLUGIN),
    )
    settings = scheduler_settings(control)
    names = [profile.scheduler_name for profile in settings.configuration.profiles]
    assert names == ["one", "two"]
    assert settings.user_plugins["one"].by_name["Even"].first == 1
    assert settings.user_plugins["two"].by_name == {}


def test_problems_of_an_object_name_the_dotted_path() -> None:
    control = ControlPlaneParams(
        scheduler_configuration={
            "profiles": [{"plugins": {"score": {"enabled": [{"name": "ImageLocalitty"}]}}}],
            "percentageOfNodesToScore": 101,
        }
    )
    with pytest.raises(UserError) as caught:
        scheduler_settings(control)
    texts = [problem.message for problem in caught.value.problems]
    place = "spec.cluster.controlPlane.schedulerConfiguration"
    assert any(text.startswith(f"{place}.percentageOfNodesToScore: is 101") for text in texts)
    assert any(f"{place}.profiles[0].plugins.score.enabled[0].name" in text for text in texts)
    assert any("did you mean 'ImageLocality'" in text for text in texts)


def test_problems_of_a_file_have_its_line(tmp_path: Path) -> None:
    file = _write(tmp_path, "c.yaml", CONFIGURATION)
    control = ControlPlaneParams(scheduler_configuration_file=file)
    with pytest.raises(UserError) as caught:
        scheduler_settings(control)
    places = {(problem.file, problem.line) for problem in caught.value.problems}
    assert (file, 8) in places, "the plugin that nobody has defined"


def test_object_and_file_exclude_each_other(tmp_path: Path) -> None:
    control = ControlPlaneParams(
        scheduler_configuration={"parallelism": 4},
        scheduler_configuration_file=_write(tmp_path, "c.yaml", "profiles: []\n"),
    )
    with pytest.raises(UserError) as caught:
        scheduler_settings(control)
    assert caught.value.problems[0].code == "E019"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("def f(:\n", "E001", "SyntaxError"),
        ("1 / 0\n", "E001", "ZeroDivisionError"),
        ("class A:\n    pass\n", "E037", "filter"),
    ],
)
def test_faults_of_a_plugin_file(tmp_path: Path, text: str, code: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_plugins(_write(tmp_path, "p.py", text))
    problem = caught.value.problems[0]
    assert problem.code == code
    assert words in problem.message


def test_wrong_plugin_arguments_are_a_users_error(tmp_path: Path) -> None:
    control = ControlPlaneParams(
        scheduler_configuration={
            "profiles": [
                {
                    "plugins": {"filter": {"enabled": [{"name": "Even"}]}},
                    "pluginConfig": [{"name": "Even", "args": {"last": 1}}],
                }
            ]
        },
        scheduler_plugins_file=_write(tmp_path, "p.py", PLUGIN),
    )
    with pytest.raises(UserError, match="last"):
        scheduler_settings(control)
