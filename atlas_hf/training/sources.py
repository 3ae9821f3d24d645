"""Where a new task begins: at the model of the earlier task whose features suit it best, or at the bare backbone.

Each earlier task's own model, its experience and queries included, gives pooled features of the new task's examples; a
linear probe says how well they predict the labels of examples that it has not seen.
"""

import logging
from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor

from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.training.probe import left_out_errors, regression, sample
from atlas_hf.tuner import BASE, Head

logger = logging.getLogger(__name__)
FULLY = 8  # candidates that are computed with; of more, those whose heads say most of the labels (`_first_look`)
# By how much a source's error must be lower than the bare backbone's, if its classes bear the same names, and if not.
# That they do counts in its favour as much as one example more. Chosen on real texts, 12 cases of a new task after
# others, 30 draws each of validation data: docs/reuse.md.
MIN_GAIN, MIN_GAIN_OF_OTHERS = 0.02, 0.1
MIN_GAIN_BESIDE = 0.05  # of the error


def find_sources(
    model: AtlasModel, task: str, dataset: Dataset, limit: int | None = None, seed: int = 0
) -> tuple[list[str], dict[str, float]]:
    """At which earlier tasks' models a task in its first stage had best begin, for `AtlasTuner.begin_at`.

    The earlier task with the lowest error of the probe is taken if that is lower than the bare backbone's, by 0.1 of
    the mean's error, or by 0.02 less the share of one example if its classes bear the same names; its error counts as
    that much higher. Others of which that is true, too, join it if their adapters lower the error by 5 % more. The
    task is left as it was.

    Args:
        task: its experience are the candidates, and what is made of nothing else.
        dataset: the task's training examples; at most 256, drawn by `seed`, are used.
        limit: how many adapters the task may reuse; None for any number.

    Returns:
        The earlier tasks, the best first, none if the bare backbone is as good; and the probe's error, as a share of
        that of the mean, by where it was measured: names joined by `" + "`, or `"__base__"` for the bare backbone.
    """
    offered = model.peft_config[task].experience
    try:
        best, tried = _measured(model, task, dataset, limit, seed)
    finally:
        model.base_model.reuse(task, {name: name for name in offered})
    return list(best), {" + ".join(where) or BASE: _mean(errors) for where, errors in tried.items()}


def _measured(
    model: AtlasModel, task: str, dataset: Dataset, limit: int | None, seed: int
) -> tuple[tuple[str, ...], dict[tuple[str, ...], Tensor]]:
    """The earlier tasks to begin at, and each example's error by where it was measured."""
    probe = _Probe(model, task, dataset, seed)
    names = _candidates(model, task, limit)
    bare = probe.pooled(())
    if len(names) > FULLY:
        names = sorted(names, key=lambda name: probe.first_look(name, bare))[:FULLY]
    tried: dict[tuple[str, ...], Tensor] = {(): probe.errors((), bare)}
    tried |= {(name,): probe.errors((name,)) for name in names}
    counted = {name: _mean(tried[name,]) + _asked_of(model, task, name, len(tried[()])) for name in names}
    helpful = sorted((name for name in names if counted[name] < _mean(tried[()])), key=counted.__getitem__)
    best: tuple[str, ...] = tuple(helpful[:1])
    for name in helpful[1:]:
        both = (*best, name)
        adapters = len(model.base_model.origins(both))
        if len(model.base_model.origins(best)) < adapters <= (adapters if limit is None else limit):
            tried[both] = probe.errors(both)
            best = both if _lower(tried[both], tried[best], MIN_GAIN_BESIDE) else best
    return best, tried


class _Probe:
    """The linear probe on a sample of a task's examples, with the task at one beginning or another."""

    def __init__(self, model: AtlasModel, task: str, dataset: Dataset, seed: int) -> None:
        self.model, self.task, self.spec = model, task, model.specs[task]
        self.inputs, self.labels = sample(model, self.spec, dataset, seed)

    def pooled(self, sources: Sequence[str]) -> Tensor:
        """What the task's head would see there, (rows, D)."""
        self.model.base_model.begin_at(self.task, sources)
        with torch.no_grad(), evaluating(self.model) as twin:
            return torch.cat([twin.pooled(self.task, **batch) for batch in self.inputs])

    def errors(self, sources: Sequence[str], pooled: Tensor | None = None) -> Tensor:
        """Of each example (n,); infinite where the features are not finite."""
        errors = self._errors(self.pooled(sources) if pooled is None else pooled)
        if errors.isinf().all():
            logger.warning("Task '%s' does not begin at %s: its features are not finite.", self.task, list(sources))
        return errors

    def _errors(self, features: Tensor) -> Tensor:
        if not features.isfinite().all():
            return torch.full((len(self.labels),), torch.inf)
        return left_out_errors(*regression(self.spec, features.double().cpu(), self.labels.cpu()))

    def first_look(self, name: str, bare: Tensor) -> float:
        """The mean error from nothing but what an earlier task's head says of the bare features (rows, D).

        No pass through the backbone. On real texts, with two tasks of sentiment and two others before three of
        sentiment, the first by this was a related one in 177 of 180 draws of 32 to 256 examples.
        """
        head = self.model.heads[name]
        repeats, rest = divmod(head.dense.in_features, bare.shape[1])
        if rest:  # a backbone pools for it in another way
            return torch.inf
        with torch.no_grad():
            return _mean(self._errors(Head.forward(head, bare.repeat(1, repeats))))


def _asked_of(model: AtlasModel, task: str, name: str, examples: int) -> float:
    """By how much the error of an earlier task must be lower than none's."""
    same = model.specs[task].same_classes(model.specs[name])
    return MIN_GAIN - 1 / max(examples, 1) if same else MIN_GAIN_OF_OTHERS


def _lower(errors: Tensor, others: Tensor, gain: float) -> bool:
    return _mean(errors) < _mean(others) * (1 - gain)


def _mean(errors: Tensor) -> float:
    return errors.mean().item()


def _candidates(model: AtlasModel, task: str, limit: int | None) -> list[str]:
    """The finished tasks of the experience, and those made of nothing else, each of at most `limit` adapters."""
    offered = model.peft_config[task].experience
    made_of = {name: model.members(name) for name in model.finished}
    return [
        name
        for name, members in made_of.items()
        if members and (name in offered or set(members) <= set(offered)) and (limit is None or len(members) <= limit)
    ]
