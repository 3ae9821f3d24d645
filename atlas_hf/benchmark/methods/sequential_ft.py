"""Sequential fine-tuning: every task changes the whole backbone, and nothing holds it back."""

from __future__ import annotations

from atlas_hf.benchmark.methods.plain import PlainMethod


class SequentialFT(PlainMethod):
    """All weights of the backbone and the new head, one task after another (CLiMB's SeqFT).

    The rate is 1/50 of the adapters', the best mean of those tried (one task from the pretrained backbone, 1,000
    examples of the digits stream, 128 steps, rate of the head 5e-3, validation; seeds 0, 1, 2 or seed 0 alone):

    | rate | entailment | vqa |
    |---|---|---|
    | 0.02 | 0.856, 0.872, 0.898 | 0.666, 0.692, 0.490 |
    | 0.05 | 0.768, 0.864, 0.904 | 0.777, 0.297, 0.278 |
    | 0.1 | 0.734 | 0.646 |
    | 0.3 | 0.674 | |

    With the head at the backbone's rate it is worse: 0.704 and 0.090 at 5e-4, 0.738 and 0.056 at 2.5e-4 (seed 0).
    """

    name = "sequential_ft"
    summary = "the whole backbone, one task after another"
    rate = 0.02
