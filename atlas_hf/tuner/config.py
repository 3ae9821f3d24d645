"""`AtlasConfig`: one task's settings, saved as PEFT's `adapter_config.json`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile
from reprlib import repr as short
from typing import Any

from peft import PeftConfig

from atlas_hf.fusion import TOKEN_WEIGHTS, VARIANTS, WEIGHTINGS
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner.stages import STAGES

# PEFT's name for "no adapter", which it writes out wherever it is asked for (`adapter_names` of LoRA's forward call).
BASE = "__base__"
QUERY_INITS = ("screened", "opposed", "normal")
CHANNEL_QUERIES = 24
MAX_NAMES, MAX_LETTERS, MAX_WAYS = 1000, 200, 10**6  # of what chooses sites
# What each way to pool reads of the backbone's outputs.
POOLINGS = {
    "pooler": ("pooler_output",),
    "joined": ("image_embeds", "text_embeds"),
    "cls": ("last_hidden_state",),
    "mean": ("last_hidden_state",),
}


class AtlasPeftType(str, Enum):
    """PEFT's own `PeftType` is closed, and transformers reads `.value`, so a plain string would not do."""

    ATLAS = "ATLAS"


@dataclass
class AtlasConfig(PeftConfig):
    """Configuration of one task's adapter.

    Args:
        r: width of the bottleneck.
        target_modules: names (or a regex) of the linear modules whose output is adapted. By default the attention
            output and the MLP output projections of the model types that are known. A list becomes a set, as
            everywhere in PEFT.
        exclude_modules, layers_to_transform, layers_pattern: as everywhere in PEFT.
        modules_to_save: names of other modules of which each adapter trains and saves a copy, as everywhere in PEFT,
            which adds the classifier by itself for `task_type="SEQ_CLS"`. Not for tasks of an `AtlasModel`, whose
            heads are its own.
        num_heads: heads of the pooling attention; by default the backbone's.
        variant: `"paper"` or `"reference"`, see `atlas_hf.fusion.fuse`.
        weighting: `"adapter"` (one coefficient per adapter) or `"channel"` (one per hidden channel).
        num_queries: rows of each query and key; 1 for `"adapter"`, 24 by default for `"channel"` (the number in the
            released code).
        token_weight: how much the tokens of an example count beside a query in the pooling attention. `"each"`, as
            published: each as much as the query, so that a coefficient depends on how long a text is: it is the nearer
            to 0.5 the more tokens there are. `"shared"`: all together as one, at any length.
        experience: earlier tasks that this one reuses, in order.
        experience_sha256: digest of each reused task's adapter and key, checked whenever this task is loaded.
        stage: what trains while the task is active: `"experience"` its queries over the experience and the head,
            `"expansion"` its own adapter, key and query and the head, `"complete"` nothing.
        own_adapter: False for a task that was learned without expansion: it has no adapter, key and query of its own,
            but the queries over its experience and its head.
        head: the arguments of `atlas_hf.tuner.heads.build_head`; None for no head.
        init_queries: where a task's queries start. Trained with the recipe `"evidence"`, those over the experience
            start afterwards as the queries of the task at whose model this one begins; with `"paper"` they stay
            where this says. `"normal"`: N(0, 1), as in the released code, which gives every adapter a coefficient of
            about 0.5, useful or not. `"opposed"`: those over the experience at the negated
            keys plus N(0, 0.25), a coefficient of about 0.05, and the task's own at its key, about 0.9: it begins
            as if alone. `"screened"`: as opposed, but with the recipe `"paper"` `AtlasTrainer` lets the queries over
            those adapters start from N(0, 1) that a probe finds useful (`atlas_hf.training.screening`). By default
            screened for `variant="paper"` and normal for `"reference"`, whose residual stands in each adapter.
            Chosen by the benchmark (`docs/benchmark.md`).
        pooling: where a head's vector comes from: `"pooler"` (the backbone's own), `"cls"` (the first token),
            `"mean"` (over the tokens that are not padding), `"joined"` (image and text embeddings, one after the
            other). By default what a sentence encoder was trained with, as its files say, or what the backbone offers.
        head_width: units of the hidden layer of a task's head. By default 256, or as many as labels if there are
            more, but at most twice the size D of a pooled vector; with `variant="reference"` 2D, as in the released
            code.
        init_weights: True starts the up projection at zero, so that a new adapter changes nothing.

    Attributes:
        spec: what the task is, if `AtlasModel.add_task` or `load_tasks` made this config. It is no part of
            `adapter_config.json`, but the task's `task.json`.
    """

    r: int = field(default=48, metadata={"help": "Width of the bottleneck."})
    target_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "Names or regex of the sites."}
    )
    exclude_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "Names or regex to leave out."}
    )
    layers_to_transform: list[int] | int | None = field(default=None, metadata={"help": "Layer indices to adapt."})
    layers_pattern: list[str] | str | None = field(default=None, metadata={"help": "Name of the list of layers."})
    modules_to_save: list[str] | None = field(default=None, metadata={"help": "Modules that train in a copy."})
    num_heads: int | None = field(default=None, metadata={"help": "Heads of the pooling attention."})
    variant: str = field(default="paper", metadata={"help": f"One of {VARIANTS}."})
    weighting: str = field(default="adapter", metadata={"help": f"One of {WEIGHTINGS}."})
    num_queries: int | None = field(default=None, metadata={"help": "Rows of each query and key."})
    token_weight: str = field(default="each", metadata={"help": f"One of {TOKEN_WEIGHTS}."})
    experience: list[str] = field(default_factory=list, metadata={"help": "Earlier tasks that are reused."})
    experience_sha256: dict[str, str] = field(default_factory=dict, metadata={"help": "Digests of what is reused."})
    stage: str = field(default="expansion", metadata={"help": f"One of {tuple(STAGES)}."})
    own_adapter: bool = field(default=True, metadata={"help": "Has the task an adapter of its own?"})
    head: dict[str, Any] | None = field(default=None, metadata={"help": "Arguments of build_head."})
    init_queries: str | None = field(default=None, metadata={"help": f"One of {QUERY_INITS}."})
    pooling: str | None = field(default=None, metadata={"help": f"One of {tuple(POOLINGS)}."})
    head_width: int | None = field(default=None, metadata={"help": "Units of the hidden layer of a head."})
    init_weights: bool = field(default=True, metadata={"help": "Start the up projection at zero."})
    spec: TaskSpec | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = AtlasPeftType.ATLAS
        self.num_queries = self.query_rows if self.num_queries is None else self.num_queries
        if self.init_queries is None:
            self.init_queries = "screened" if self.variant == "paper" else "normal"
        self._check_choices()
        self._check_numbers()
        self._check_experience()
        self._check_sites()
        self._check_layers()
        # As in PEFT's configs.
        self.target_modules, self.exclude_modules = _as_set(self.target_modules), _as_set(self.exclude_modules)

    def _check_choices(self) -> None:
        choices = {
            "variant": VARIANTS, "weighting": WEIGHTINGS, "token_weight": TOKEN_WEIGHTS, "stage": STAGES,
            "init_queries": QUERY_INITS,
        }  # fmt: skip
        for name, possible in choices.items():
            if getattr(self, name) not in (*possible,):  # by equality: it may be a list
                raise ValueError(f"{name} is {getattr(self, name)!r}; possible are {', '.join(possible)}.")
        if self.pooling is not None and self.pooling not in (*POOLINGS,):
            raise ValueError(f"pooling is {self.pooling!r}; possible are {', '.join(POOLINGS)}, or None to choose.")

    def _check_numbers(self) -> None:
        chosen = [name for name in ("num_heads", "head_width") if getattr(self, name) is not None]
        for name in ("r", "num_queries", *chosen):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65536:
                raise ValueError(f"{name} is {value!r}; give a whole number from 1 to 65536.")
        if self.weighting == "adapter" and self.num_queries != 1:
            raise ValueError(f"num_queries is {self.num_queries}; weighting='adapter' takes 1, 'channel' takes more.")

    def _check_experience(self) -> None:
        names, digests = self.experience, self.experience_sha256
        strings = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
        if not strings or len(set(names)) < len(names):
            raise ValueError(f"experience is {names!r}; give a list of task names, each once.")
        if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
            raise ValueError(f"experience_sha256 is {digests!r}; give a digest by the name of each reused task.")
        if self.stage == "experience" and not names:
            raise ValueError("stage='experience' needs an experience; a first task begins with stage='expansion'.")

    @property
    def pooling_heads(self) -> int:
        """`num_heads`, which the tuner sets where it was left to the backbone."""
        if self.num_heads is None:
            raise ValueError("num_heads is None; give a number, or let AtlasTuner take the backbone's.")
        return self.num_heads

    def hidden_units(self, pooled_size: int) -> int | None:
        """Of a head that reads vectors of this size D; None for what suits the task (`heads.head_arguments`)."""
        return self.head_width or (2 * pooled_size if self.variant == "reference" else None)

    @property
    def query_rows(self) -> int:
        """Q, the rows of each query and key."""
        return self.num_queries or (1 if self.weighting == "adapter" else CHANNEL_QUERIES)

    def check_patterns(self) -> None:
        """For a config that somebody else wrote: no regex that takes for ever. Raises `ValueError`.

        PEFT matches with `re`, which knows no time limit and cannot be replaced there: a match of our own by RE2, or
        by `regex` with its timeout, would bound nothing. So the effort is estimated from the pattern beforehand.
        """
        for name in ("target_modules", "exclude_modules", "layers_pattern", "modules_to_save"):
            value = getattr(self, name)
            patterns = [] if value is None else [value] if isinstance(value, str) else value
            if not isinstance(patterns, (list, set, tuple)) or len(patterns) > MAX_NAMES:
                raise ValueError(
                    f"{name} is {short(value)}; give a list of at most {MAX_NAMES} names, or a simple regex."
                )
            for pattern in patterns:
                if not isinstance(pattern, str) or len(pattern) > MAX_LETTERS or _ways(pattern) > MAX_WAYS:
                    raise ValueError(
                        f"{name} has {short(pattern)}, which may take for ever to match; give names, or a simple "
                        f"regex: at most {MAX_LETTERS} letters, two or three `*` or `+`, and none of them after a "
                        "bracket."
                    )

    def _check_sites(self) -> None:
        for name, regex in (("target_modules", True), ("exclude_modules", True), ("modules_to_save", False)):
            value = getattr(self, name)
            names = isinstance(value, (list, set, tuple)) and all(isinstance(part, str) for part in value)
            if not (value is None or names or (regex and isinstance(value, str))):
                raise ValueError(f"{name} is {value!r}; give a list of names{', or a regex' if regex else ''}.")
        layers = self.layers_to_transform
        for layer in [] if layers is None else layers if isinstance(layers, (list, tuple)) else [layers]:
            if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= 65536:
                raise ValueError(f"layers_to_transform has {layer!r}; give indices of layers, from 0.")

    def _check_layers(self) -> None:
        """As PEFT's configs do, in their words."""
        for name in ("layers_to_transform", "layers_pattern") if isinstance(self.target_modules, str) else ():
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` cannot be used when `target_modules` is a str. Give a list of names, or write the "
                    f"layers into the regex ({self.target_modules!r})."
                )
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError(
                "When `layers_pattern` is specified, `layers_to_transform` must also be specified. Give the indices "
                f"of layers in {self.layers_pattern!r}, or leave layers_pattern out."
            )

    def to_dict(self) -> dict[str, Any]:
        """As `adapter_config.json` has it: sets sorted, as their order differs between processes.

        `modules_to_save` only if there are some, and `token_weight` only if it is not the published one, as readers
        that do not know them warn; without the latter, a folder is what it was before there was a choice.
        """
        values = {name: sorted(v) if isinstance(v, set) else v for name, v in super().to_dict().items()}
        unset = {"modules_to_save": not self.modules_to_save, "token_weight": self.token_weight == "each"}
        return {name: value for name, value in values.items() if name != "spec" and not unset.get(name, False)}


def _as_set(names: list[str] | set[str] | str | None) -> set[str] | str | None:
    return set(names) if isinstance(names, (list, tuple)) else names


def reused_by(task: str, configs: Mapping[str, AtlasConfig]) -> list[str]:
    """The tasks that reuse a task; a task reuses those that were there before it."""
    later = takewhile(lambda name: name != task, reversed([*configs]))  # none of the newest, which is the one to train
    return [name for name in later if task in configs[name].experience][::-1]


def trained_parts(task: str, configs: Mapping[str, AtlasConfig]) -> tuple[str, ...]:
    """What of a task trains while it is active: what its stage says, and nothing once another task reuses it."""
    trained = STAGES[configs[task].stage].trained
    return () if trained and reused_by(task, configs) else trained


def _ways(pattern: str) -> float:
    """At most how many ways to try a regex on a module's path (80 letters) there are; infinity for what is none."""
    try:
        re.compile(pattern)
    except re.error:
        return math.inf
    plain = re.sub(r"\\.|\[\^?.[^\]]*\]", "x", pattern)  # an escape or a set is one letter
    plain = re.sub(r"\(\?[:=!]", "(", plain)
    if re.search(r"\)[*+{]", plain):
        return math.inf
    alternatives = math.prod(part.count("|") + 1 for part in re.split("[()]", plain))
    return 80 ** len(re.findall(r"[*+{]", plain)) * 2 ** plain.count("?") * alternatives
