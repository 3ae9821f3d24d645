"""The Hub's check of a card's YAML, as far as a test can know it: shapes and types, not lists of known values."""

import re

import yaml

REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
TEXT_LISTS = ("tags", "language", "datasets", "metrics", "base_model", "license")
TEXTS = ("library_name", "pipeline_tag", "license_name", "license_link", "base_model_relation")


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about the front matter of a README.md."""
    found = re.match(r"\ufeff?---\r?\n(.*?)\r?\n---(\r?\n|$)", content, flags=re.DOTALL)
    if found is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"invalid yaml: {error}"], []
    if not isinstance(data, dict):
        return ["the metadata must be a mapping"], []
    return [*_types(data), *_repositories(data), *_model_index(data.get("model-index", []))], []


def _types(data: dict) -> list[str]:
    errors = [f'"{key}" must be a string' for key in TEXTS if not isinstance(data.get(key, ""), str)]
    for key in TEXT_LISTS:
        values = data.get(key, [])
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            errors.append(f'"{key}" must be a string or a list of strings')
    return errors


def _repositories(data: dict) -> list[str]:
    errors = []
    for key in ("base_model", "datasets"):
        values = data.get(key) or []
        wrong = [one for one in ([values] if isinstance(values, str) else values) if not REPO_ID.fullmatch(str(one))]
        errors += [f'"{key}" with value "{one}" is not valid: use a model id from the Hub' for one in wrong]
    return errors


def _model_index(index: object) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be a list']
    errors = []
    for number, model in enumerate(index):
        if not isinstance(model.get("name"), str) or not model["name"]:
            errors.append(f'"model-index[{number}].name" is required')
        for place, result in enumerate(model.get("results", [])):
            errors += [f'"model-index[{number}].results[{place}].{text}' for text in _result(result)]
    return errors


def _result(result: dict) -> list[str]:
    errors = [] if (result.get("task") or {}).get("type") else ['task.type" is required']
    errors += [f'dataset.{key}" is required' for key in ("name", "type") if not (result.get("dataset") or {}).get(key)]
    metrics = result.get("metrics") or []
    if not metrics:
        errors.append('metrics" is required')
    return errors + [f'metrics.{key}" is required' for one in metrics for key in ("type", "value") if key not in one]
