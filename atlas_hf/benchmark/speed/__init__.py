"""Time and memory: a forward pass and a training step, start-up, many tasks (`many_tasks`), the demo (`demo`).

Ways of computing (`ways`, `adapters_library`) take turns and become records and tables (`compare`). `adapters_worker`
runs in another environment and imports nothing of `atlas_hf`.
"""
