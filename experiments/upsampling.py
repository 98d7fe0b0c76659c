"""Transposed convolutions against nearest-neighbour upsampling with a convolution.

    ganjax sweep upsampling

It trains DCGAN on the embedded digits. Transposed convolutions leave checkerboard patterns (Odena
et al. 2016, distill.pub/2016/deconv-checkerboard).
"""

from experiments.tools.design import KID, Sweep, axis

SWEEP = Sweep(
    question="Does the generator do better by transposed convolutions, or by upsampling first?",
    base="configs/dcgan.py",
    fixed={**KID, "log_every": 10},
    cells=axis("generator.upsample", ["transpose", "nearest"]),
    metric="kid_efflite0",
    baseline={"generator.upsample": "transpose"},
)
