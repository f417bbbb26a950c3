"""Convolutions with less arithmetic, for fp32 on the CPU, each beside its plain form."""

WINOGRAD, UPSAMPLE, STILL = "winograd", "upsample", "still"
KERNELS = (WINOGRAD, UPSAMPLE, STILL)
