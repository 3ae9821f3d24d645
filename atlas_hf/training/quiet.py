"""Training that says nothing and leaves nothing: for what is only tried."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from tempfile import TemporaryDirectory

from transformers import PrinterCallback, Trainer

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.stages import StageTable


@contextmanager
def quiet(args: AtlasTrainingArguments) -> Iterator[AtlasTrainingArguments]:
    """A copy of the settings for training alone: the last state counts, and the folder is gone afterwards."""
    args = copy(args)
    args.eval_strategy = args.save_strategy = args.logging_strategy = "no"
    args.load_best_model_at_end, args.early_stopping_patience, args.push_to_hub = False, None, False
    args.report_to, args.disable_tqdm = [], True
    with TemporaryDirectory() as folder:
        args.output_dir = folder
        yield args


def train_quietly(trainer: Trainer) -> None:
    """Train, and print nothing."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(StageTable)
    trainer.train()
