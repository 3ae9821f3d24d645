"""`BackedModel`: the backbone is the one that the tasks were learned on, to the bit, or nothing is saved or loaded."""

from dataclasses import replace
from itertools import chain

import torch

from atlas_hf.folder import BaseModel
from atlas_hf.model import storage
from atlas_hf.model.answering_model import AnsweringModel
from atlas_hf.model.backbone import backbone_sha256, check_loads_again
from atlas_hf.model.finished import check_switched_on


class BackedModel(AnsweringModel):
    """Tasks that know their backbone. See `AtlasModel`."""

    _learned_on: BaseModel | None = None  # the backbone of the tasks here, as it was told of when they were learned
    _converted: str | None = None  # the digest that it has since `from_pretrained(..., dtype=...)`

    @property
    def base_dtype(self) -> str:
        """The type that the backbone is in now, as `atlas.json` names it."""
        return str(self.get_base_model().dtype).removeprefix("torch.")

    @property
    def base_sha256(self) -> str:
        """Digest of the backbone as it is now: 0.1 s for 22 million parameters, 0.3 s for ViLT's 111 million."""
        return backbone_sha256(self.get_base_model())

    def check_backbone(self, to_learn: bool = False) -> BaseModel:
        """What `atlas.json` says of the backbone, once it is sure that what is said loads this backbone again.

        Args:
            to_learn: also refuse what only serves to answer (tasks on a backbone converted to another type), adapters
                that are switched off, and tasks that could not be saved afterwards.

        Raises:
            ValueError: the backbone is another than the one that the tasks were learned on (some weight was edited,
                the embeddings were resized, it was cast), or, asked for the first time, it could not be loaded again.
        """
        if to_learn:
            check_switched_on(self.base_model.sites)
            storage.check_tensors(self, self.tasks)
        base = BaseModel(
            self.task_config.base_model_name_or_path, self.task_config.revision, self.base_sha256, self.base_dtype
        )
        then = self._learned_on if self.tasks else None
        if then is None:
            check_loads_again(self.get_base_model(), base)
        elif base.sha256 == self._converted and not to_learn:
            base = replace(base, sha256=then.sha256, dtype=then.dtype)
        elif base.sha256 != then.sha256:
            raise ValueError(
                f"The backbone was changed after the tasks {self.tasks} were learned on it: sha256 "
                f"{base.sha256[:12]}... in {base.dtype} now, {then.sha256[:12]}... in {then.dtype} then. They answer "
                "otherwise now, and could not be loaded again. Load them from where they were saved last, and leave "
                "the backbone and its type as they are."
            )
        self._learned_on = base
        return base

    def check_learned_here(self, base: BaseModel) -> None:
        """Raise a `ValueError` if the backbone here is not the one that the tasks of a folder were trained on."""
        found = self.base_sha256
        if self._learned_on is not None and found == self._converted:
            found = self._learned_on.sha256
        if found != base.sha256:
            raise ValueError(
                f"The backbone differs from the one that the tasks were trained on ({base.id!r}, revision "
                f"{base.revision!r}, in {base.dtype}): sha256 {found[:12]}... here, {base.sha256[:12]}... "
                "then. Pass backbone=... with the same weights, loaded in that dtype."
            )

    def _convert(self, dtype: torch.dtype) -> None:
        """Let the tasks answer on the backbone in another type; they were learned in the one that it has.

        As `Module.to`, but adapters and heads stay in float32.
        """
        backbone = self.get_base_model()
        for name, tensor in chain(backbone.named_parameters(), backbone.named_buffers()):
            if ".atlas_" not in name and tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
        self._converted = self.base_sha256
