"""Time and memory: a forward pass and a training step, start-up, many tasks (`many_tasks`), the demo (`demo`).

`python -m atlas_hf.benchmark.speed` is `atlas-hf benchmark-speed` (`arguments`, `run`) with start-up (`startup`) in
addition. Ways of computing (`ways`, `peft_ways`, `adapters_library`) take turns (`compare`); `figures` makes tables of
them. `adapters_worker` runs in another environment and imports nothing of `atlas_hf`.
"""
