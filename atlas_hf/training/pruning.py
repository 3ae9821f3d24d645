"""Which reused adapters add next to nothing to a learned task, and the task without them."""

from dataclasses import dataclass
from tempfile import TemporaryDirectory

from datasets import Dataset

from atlas_hf.model import AtlasModel
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.contributions import contributions
from atlas_hf.training.task_trainer import score


@dataclass(frozen=True)
class Pruned:
    """What `prune_experience` dropped, by which `contributions`, and the task's metric before and after."""

    dropped: list[str]
    contributions: dict[str, float]
    before: float
    after: float


def prune_experience(
    model: AtlasModel, task: str, dataset: Dataset, threshold: float = 0.01, args: AtlasTrainingArguments | None = None
) -> Pruned:
    """Let a learned task no longer reuse adapters that contribute less than `threshold`.

    It then computes less, and loads without them. Its answers change: the metric before and after says how much, and
    the latter is kept as the task's score. `model.save_pretrained` writes the task as it is then.

    Args:
        dataset: with the columns of the task's `TaskSpec`; what the contributions and the metric are measured on.
        threshold: a share of the vectors that an adapter adds to, see `contributions`.
        args: for the evaluation, its batch size for example.

    Raises a `ValueError` for a task that is unknown, or still being learned.
    """
    shares = contributions(model, task, dataset)
    found = {name: shares[name] for name in model.peft_config[task].experience}
    dropped = [name for name, share in found.items() if share < threshold]
    with TemporaryDirectory() as folder:
        args = args or AtlasTrainingArguments(folder, report_to="none")
        before = score(model, task, dataset, args)
        model.drop_experience(task, dropped)
        after = score(model, task, dataset, args) if dropped else before
    model.metrics.setdefault(task, {})[model.specs[task].metric] = after
    return Pruned(dropped, found, before, after)
