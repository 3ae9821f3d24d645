"""What the design promises of the source: imports run one way, and no code path asks for a task's name."""

import ast
from pathlib import Path

import pytest

import atlas_hf

ROOT = Path(atlas_hf.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# A module may import from its own layer only what stands before it, and from every layer below.
LAYERS = [
    ["version", "bottlenecks", "fusion", "tasks", "metrics", "metrics.single", "metrics.matrix", "metrics.continual",
     "metrics.vqa", "metrics.widget", "metrics.continual_learning", "metrics.continual_learning.continual_learning",
     "metrics.continual_learning.app", "metrics.vqa_accuracy", "metrics.vqa_accuracy.vqa_accuracy",
     "metrics.vqa_accuracy.app"],
    ["heads", "tuner.patterns", "tuner.backbones", "tuner.config", "tuner.packing", "tuner.route", "tuner.layer",
     "tuner.model", "tuner.registration", "tuner"],
    ["storage", "hub.errors", "hub.folder", "hub.timeouts", "hub.failures", "hub.retry", "hub.access", "hub.target",
     "hub.pushing", "hub.loading", "hub.space", "hub", "plots", "card_source", "model_card", "sources", "pooling",
     "mixing", "collator", "training_args", "persistence", "modeling"],
    ["streams.scenes", "streams.digit_examples", "streams.digit_tasks", "streams.digits", "streams.pretrain_texts",
     "streams.pretrain_digits", "streams.hub_tasks", "streams.climb_tasks", "streams.climb", "streams",
     "stream_command", "own_data", "own_command"],
    ["screening", "divergence", "task_trainer", "trainer", "pruning"],
    ["resuming", "sequence", "report", "prune_command", "benchmark", "benchmark.shortcuts",
     "benchmark.adapters_worker", "benchmark.speed_adapters", "benchmark.speed_peft", "benchmark.speed_ways",
     "benchmark.speed", "benchmark.many_tasks",
     "benchmark.methods.base", "benchmark.methods.plain",
     "benchmark.methods.sites", "benchmark.methods.sequential_ft", "benchmark.methods.freeze_encoder",
     "benchmark.methods.freeze_bottom", "benchmark.methods.adapter", "benchmark.methods.adapter_two_stage",
     "benchmark.methods.lora", "benchmark.methods.ewc",
     "benchmark.methods.lwf", "benchmark.methods.experience_replay", "benchmark.methods.joint",
     "benchmark.methods.atlas", "benchmark.methods.fusion", "benchmark.methods", "benchmark.cells", "benchmark.plan",
     "benchmark.representation", "benchmark.protocol", "benchmark.run", "benchmark.statistics", "benchmark.scores",
     "benchmark.claims", "benchmark.tables", "benchmark.pictures", "benchmark.report", "benchmark.dataset",
     "benchmark.command"],
    ["demo.places", "demo.questions", "demo.examples", "demo.comparison", "demo.pictures", "demo.views",
     "demo.snippets", "demo.actions", "demo.api", "demo.page", "demo.events", "demo.app", "demo", "demo.space",
     "demo.command", "benchmark.demo"],
    ["cli"],
]  # fmt: skip
ORDER = {name: i for i, name in enumerate(name for layer in LAYERS for name in layer)}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree):
    """Names of the package's own modules that a module imports, type-checking imports left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "atlas_hf":
            base = node.module.removeprefix("atlas_hf").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                yield full if full in ORDER else base


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_one_way(path):
    name = module_name(path)
    if not name:
        return
    assert name in ORDER, f"{name} has no place in the layers"
    for other in imports(ast.parse(path.read_text())):
        assert ORDER[other] < ORDER[name], f"{name} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_source_keeps_the_rules(path):
    text = path.read_text()
    assert path.stem not in ("utils", "helpers", "common")
    for word in ("except Exception", "strict=False", "TODO", "FIXME"):
        assert word not in text, word


def test_no_code_path_asks_for_a_task_name():
    from atlas_hf.streams.digits import DOWNSTREAM, ORDERS

    names = {*DOWNSTREAM, *ORDERS["multi-first"]}
    for path in FILES:
        if "streams" not in path.parts:
            tree = ast.parse(path.read_text())
            compared = {
                constant.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Compare)
                for constant in ast.walk(node)
                if isinstance(constant, ast.Constant)
            }
            assert not names & compared, path
