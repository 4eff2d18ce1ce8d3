"""Writes cluster/kuberay.schema.json: of KubeRay's own schema the fields that our manifests use, and no other.

.ci/write_kuberay_schema.py VERSION RAYJOBS_YAML RAYCLUSTERS_YAML

The two files are KubeRay's, of its release VERSION: ray-operator/config/crd/bases/ray.io_rayjobs.yaml and
ray.io_rayclusters.yaml. A field that our manifests have and KubeRay's schema has not ends this with an error.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "cluster" / "kuberay.schema.json"
API_VERSION = "ray.io/v1"
KEPT = ("type", "enum", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "required")
"""What is kept of a field besides the fields within it; what people read (descriptions) is not."""


def main() -> None:
    """Write the schema."""
    sys.path.insert(0, str(ROOT))
    from tests.cluster.whole_manifests import whole_manifests

    release, *paths = sys.argv[1:]
    kinds: dict[str, Any] = {}
    for manifest, path in zip(whole_manifests(), map(Path, paths), strict=True):
        definition = yaml.safe_load(path.read_text("utf-8"))
        (found,) = [
            v for v in definition["spec"]["versions"] if f"{definition['spec']['group']}/{v['name']}" == API_VERSION
        ]
        kind = definition["spec"]["names"]["kind"]
        excerpt = excerpt_of(found["schema"]["openAPIV3Schema"], manifest, kind)
        # Kubernetes itself checks these three; the definition only says that they are there.
        excerpt["properties"]["apiVersion"] = {"const": API_VERSION}
        excerpt["properties"]["kind"] = {"const": kind}
        excerpt["required"] = ["apiVersion", "kind", "metadata", "spec"]
        kinds[kind] = excerpt
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The part of KubeRay's RayJob and RayCluster that the planner writes",
        "$comment": f"Written by .ci/write_kuberay_schema.py from the CustomResourceDefinitions of KubeRay {release}, "
        "github.com/ray-project/kuberay, ray-operator/config/crd/bases, Apache-2.0.",
        "$defs": kinds,
    }
    TARGET.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(f"{TARGET.relative_to(ROOT)}: KubeRay {release}")


def excerpt_of(schema: dict[str, Any], value: Any, place: str) -> dict[str, Any]:
    """``schema`` with the fields of ``value`` only, as JSON Schema; exits when it lacks one."""
    kept = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if isinstance(value, dict) and "properties" in schema:
        if missing := sorted(set(value) - set(schema["properties"])):
            sys.exit(f"{place}.{missing[0]}: KubeRay has no such field")
        fields = schema["properties"]
        kept["properties"] = {key: excerpt_of(fields[key], value[key], f"{place}.{key}") for key in value}
        kept["additionalProperties"] = False
        kept["required"] = [key for key in schema.get("required", ()) if key in value]
    elif isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        # A map: any of its values has all fields.
        first = next(iter(value.values()), None)
        kept["additionalProperties"] = excerpt_of(schema["additionalProperties"], first, f"{place}.*")
    elif isinstance(value, list):
        if value and isinstance(value[0], dict):
            value = [{key: item for element in value for key, item in element.items()}]
        kept["items"] = excerpt_of(schema["items"], value[0] if value else None, f"{place}[]")
    elif isinstance(value, dict) and place.endswith(".metadata"):
        kept["properties"], kept["additionalProperties"] = {key: {"type": "string"} for key in value}, False
        kept["required"] = ["name"]
    return kept


if __name__ == "__main__":
    main()
