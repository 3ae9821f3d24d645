"""Sequential fine-tuning: every task changes the whole backbone, and nothing holds it back."""

from __future__ import annotations

from atlas_hf.benchmark.methods.plain import PlainMethod


class SequentialFT(PlainMethod):
    """All weights of the backbone and the new head, one task after another (CLiMB's SeqFT)."""

    name = "sequential_ft"
    summary = "the whole backbone, one task after another"
    rate = 0.02  # the best mean of those tried (docs/benchmark.md)
