"""The maths of ATLAS, pure functions of tensors: `fuse`, and `fuse_loop`, as the formulas read. Imports torch only."""

from atlas_hf.fusion.bottlenecks import Pack, compute_dtype, widened
from atlas_hf.fusion.coefficients import orthogonality
from atlas_hf.fusion.fusing import TOKEN_WEIGHTS, VARIANTS, WEIGHTINGS, fuse, fuse_packs
from atlas_hf.fusion.loop import bottleneck, fuse_loop

__all__ = [
    "TOKEN_WEIGHTS", "VARIANTS", "WEIGHTINGS", "Pack", "bottleneck", "compute_dtype", "fuse", "fuse_loop",
    "fuse_packs", "orthogonality", "widened",
]  # fmt: skip
