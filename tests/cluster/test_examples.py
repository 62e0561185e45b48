"""examples/ray/cluster.yaml, beside Ray's own schema of such a file, and what its commands must and must not do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import REPO, needs

CLUSTER = REPO / "examples" / "ray" / "cluster.yaml"


def schema() -> dict[str, Any]:
    """Ray's, without importing Ray."""
    needs.modules("jsonschema")
    found = importlib.util.find_spec("ray")
    if found is None or not found.submodule_search_locations:
        needs.missing("Ray is not installed: pip install 'cxrzero[ray]'")
        raise AssertionError
    file = Path(found.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def test_the_cluster_is_one_that_ray_takes() -> None:
    import jsonschema

    cluster = yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))
    jsonschema.validate(cluster, schema())
    with pytest.raises(jsonschema.ValidationError, match="min_workers"):
        jsonschema.validate(cluster | {"min_workers": 3}, schema())


def test_its_commands_want_a_token_report_nothing_and_open_no_dashboard() -> None:
    cluster = yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all(command.startswith("RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ") for command in starts)
    assert "--include-dashboard=false" in starts[0]
