"""The maths of ATLAS: pure functions of tensors. Imports torch only.

`fuse` reads `coefficients` (pooling, comparing) and `bottlenecks` (the weighted sum); `fuse_loop` is the same as the
formulas read, slow; `orthogonality` is the penalty.
"""

from atlas_hf.fusion.bottlenecks import Pack, compute_dtype, widened
from atlas_hf.fusion.fusing import VARIANTS, WEIGHTINGS, fuse, fuse_packs
from atlas_hf.fusion.loop import bottleneck, fuse_loop
from atlas_hf.fusion.penalty import orthogonality

__all__ = [
    "VARIANTS",
    "WEIGHTINGS",
    "Pack",
    "bottleneck",
    "compute_dtype",
    "fuse",
    "fuse_loop",
    "fuse_packs",
    "orthogonality",
    "widened",
]
