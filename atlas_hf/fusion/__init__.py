"""The maths of ATLAS: pure functions of tensors. Imports torch only.

`fuse` reads `coefficients` (pooling, comparing, and the penalty that keeps queries and keys apart) and `bottlenecks`
(the weighted sum); `fuse_loop` is the same as the formulas read, slow.
"""

from atlas_hf.fusion.bottlenecks import Pack, compute_dtype, widened
from atlas_hf.fusion.coefficients import orthogonality
from atlas_hf.fusion.fusing import VARIANTS, WEIGHTINGS, fuse, fuse_packs
from atlas_hf.fusion.loop import bottleneck, fuse_loop

__all__ = [
    "VARIANTS", "WEIGHTINGS", "Pack", "bottleneck", "compute_dtype", "fuse", "fuse_loop", "fuse_packs",
    "orthogonality", "widened",
]  # fmt: skip
