"""The examples of clusters in docs/cluster/: what Ray's and KubeRay's schemas say, and that they are not open."""

from __future__ import annotations

import copy
import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "cluster"


def read_kuberay() -> tuple[dict[str, Any], dict[str, Any]]:
    claim, cluster = yaml.safe_load_all((FILES / "kuberay.yaml").read_text())
    return claim, cluster


def read_ray_up() -> dict[str, Any]:
    content = yaml.safe_load((FILES / "ray-up.yaml").read_text())
    assert isinstance(content, dict)
    return content


def kuberay_schema() -> dict[str, Any]:
    schema = json.loads(Path(__file__).with_name("kuberay_schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert isinstance(schema, dict)
    return schema


def ray_schema() -> dict[str, Any]:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads(Path(spec.origin).with_name("autoscaler").joinpath("ray-schema.json").read_text())
    assert isinstance(schema, dict)
    return schema


def test_the_kuberay_manifest_is_one() -> None:
    claim, cluster = read_kuberay()
    jsonschema.validate(cluster, kuberay_schema(), jsonschema.Draft202012Validator)
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
            assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "authOptions", "mode"), "none"),
        (("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "headGroupSpec", "templates"), {}),
        (("spec", "workerGroupSpecs", 0, "maxReplicas"), "4"),
        (
            ("spec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "limits", "memory"),
            "32 GB",
        ),
        (("kind",), "RayClusters"),
    ],
)
def test_the_schema_finds_mistakes(path: tuple[str | int, ...], value: object) -> None:
    cluster: Any = copy.deepcopy(read_kuberay()[1])
    place = cluster
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, kuberay_schema(), jsonschema.Draft202012Validator)


def test_the_cluster_of_ray_up_is_one() -> None:
    content = read_ray_up()
    jsonschema.validate(content, ray_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"provder": {}}, ray_schema())
    commands = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in start and "RAY_USAGE_STATS_ENABLED=0" in start for start in starts)
    assert not any("dashboard-host" in start for start in starts)  # loopback is the default


def test_the_version_of_ray_is_one_that_icf_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = (found for text in project["dependencies"] if (found := Requirement(text)).name == "ray")
    assert ray.specifier.contains(read_kuberay()[1]["spec"]["rayVersion"])
