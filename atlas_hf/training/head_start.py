"""The head, learned to its end before anything else: its last layer, on features that do not change meanwhile.

To learn the last layer alone is a convex problem: L-BFGS finds its one solution within seconds.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm.auto import tqdm

from atlas_hf.data import batches
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.tuner import Head

MOST, MOST_FOLDED = 8192, 512  # examples to learn from, and to choose the penalty by
LOGITS = 2_000_000  # examples x classes, at most
FOLDS = 5
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)


def learn_head(
    model: AtlasModel, task: str, dataset: Dataset, args: AtlasTrainingArguments, sources: Sequence[str] = ()
) -> None:
    """Learn a task's head on the features that the adapters which take part in the task give now.

    The last layer minimises the task's loss + penalty x the squared distance of its weights from where they began. It
    begins at zero, or, with the rest of the head, where the head of one of `sources` stands that knows the same
    labels. Cross-validation chooses the beginning and the penalty, and whether to stay at the beginning.

    Args:
        dataset: the examples to learn from; at most 8,192, drawn by `args.seed`, are used.
        sources: earlier tasks whose heads may be begun with.
    """
    features, labels = _features(model, task, dataset, args)
    own = model.heads[task]
    fits = [HeadFit(head, features, labels) for head in _beginnings(model, task, sources)]
    best = min(fits, key=lambda fit: fit.left_out_loss)
    own.load_state_dict(best.learned().state_dict())


def _beginnings(model: AtlasModel, task: str, sources: Sequence[str]) -> Iterator[Head]:
    """Copies of heads: the task's own with its last layer at zero, and those of sources with the same labels."""
    own, spec = deepcopy(model.heads[task]), model.specs[task]
    nn.init.zeros_(own.out.weight)
    nn.init.zeros_(own.out.bias)
    yield own
    for name in sources:
        same_labels = spec.label_names is not None and model.specs[name].label_names == spec.label_names
        if same_labels and model.peft_config[name].head == model.peft_config[task].head:
            yield deepcopy(model.heads[name])


class HeadFit:
    """The last layer of a head (C classes, hidden size H), learned from where it begins, on pooled vectors.

    Args:
        head: is changed.
        features: (n x R, D), R rows per example.
        labels: (n,), or (n, C) for several answers.
    """

    def __init__(self, head: Head, features: Tensor, labels: Tensor) -> None:
        self.head, self.labels = head.requires_grad_(False), labels
        with torch.no_grad():
            self.hidden = head.hidden(features).unflatten(0, (len(labels), -1))
        self.begun = [head.out.weight.clone(), head.out.bias.clone()]
        self.penalty, self.left_out_loss = self._choose()

    def learned(self) -> Head:
        """The head after it has learned from all examples."""
        if self.penalty is not None:
            count = min(len(self.labels), max(1, LOGITS // self.head.out.out_features))
            self._put(self._solve(self.hidden[:count], self.labels[:count], self.penalty, self.begun))
        return self.head

    def _choose(self) -> tuple[float | None, float]:
        """The penalty with the lowest loss at examples left out, from strong to weak until it rises; None to stay."""
        count = min(len(self.labels), MOST_FOLDED, max(FOLDS, LOGITS // 40 // self.head.out.out_features))
        hidden, labels = self.hidden[:count], self.labels[:count]
        fold = torch.arange(count) % min(FOLDS, count)
        best, lowest = None, self._loss(self.begun, hidden, labels).item()
        if count < 2:
            return best, lowest
        found = [self.begun] * len(fold.unique())
        for penalty in PENALTIES:
            loss = 0.0
            for i, weights in enumerate(found):
                seen, left_out = fold != i, fold == i
                found[i] = self._solve(hidden[seen], labels[seen], penalty, weights)
                loss += self._loss(found[i], hidden[left_out], labels[left_out]).item() * left_out.sum().item() / count
            if loss > 1.05 * lowest:
                break
            best, lowest = (penalty, loss) if loss < lowest else (best, lowest)
        return best, lowest

    def _solve(self, hidden: Tensor, labels: Tensor, penalty: float, near: Sequence[Tensor]) -> list[Tensor]:
        """Weight and bias of the last layer; the search begins `near` these."""
        weights = [tensor.detach().clone().requires_grad_() for tensor in near]
        search = torch.optim.LBFGS(weights, max_iter=50, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            found = self._loss(weights, hidden, labels) + penalty * (weights[0] - self.begun[0]).square().sum()
            found.backward()
            return found

        search.step(loss)
        return [tensor.detach() for tensor in weights]

    def _loss(self, weights: Sequence[Tensor], hidden: Tensor, labels: Tensor) -> Tensor:
        return self.head.loss(self.head.arranged(nn.functional.linear(hidden.flatten(0, 1), *weights)), labels)

    def _put(self, weights: Sequence[Tensor]) -> None:
        self.head.out.weight.copy_(weights[0])
        self.head.out.bias.copy_(weights[1])


def _features(
    model: AtlasModel, task: str, dataset: Dataset, args: AtlasTrainingArguments
) -> tuple[Tensor, Tensor]:
    """Pooled vectors (n x R, D) of a task's examples, in an order drawn by the seed, and their labels."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(args.seed))[:MOST].tolist()
    size, features, labels = args.per_device_eval_batch_size, [], []
    steps = batches(dataset.select(order), model.collator(task), size, model.device)
    bar = tqdm(steps, f"{task}, head", -(-len(order) // size), delay=2, disable=args.disable_tqdm)
    with torch.no_grad(), evaluating(model) as twin:
        for batch in bar:
            labels.append(batch.pop("labels"))
            features.append(twin.pooled(task, **batch).float())
    return torch.cat(features), torch.cat(labels)
