"""A score out of a trainer: kept with the task, in `atlas.json` and on the card."""

from typing import Any

from atlas_hf.model import AtlasModel
from atlas_hf.training.task_trainer import TaskTrainer


class RecordingTrainer(TaskTrainer):
    """`evaluate` may keep what it found in `model.metrics`."""

    model: AtlasModel

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        *,
        record: bool = False,
    ) -> dict[str, float]:
        """Trainer's; a score on test data may be kept with the task.

        Args:
            eval_dataset, ignore_keys, metric_key_prefix: as Trainer's.
            record: of a finished task and its test data: keep score and number of examples in `model.metrics[task]`.
                `model.save_pretrained` writes them to `atlas.json`, from which the card has them.

        Raises a `ValueError` if `record` is asked for and the task is not finished, or there is no one data set.
        """
        if record and (eval_dataset is None or isinstance(eval_dataset, (str, dict))):
            raise ValueError(
                f"record=True keeps a score on test data, but eval_dataset is {type(eval_dataset).__name__}. Pass the "
                "test examples, which took no part in the training: evaluate(test, record=True)."
            )
        if record and self.model.peft_config[self.task].stage != "complete":
            raise ValueError(f"Task '{self.task}' is not finished, so its score would not stay. Call train() first.")
        found = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if record:
            score = {self.spec.metric: float(found[f"{metric_key_prefix}_{self.spec.metric}"])}
            about = {"random_baseline": self.spec.random_baseline, "test_examples": len(eval_dataset)}
            self.model.metrics[self.task] = {**score, **about}
        return found
