"""Attention of one head, whose scores never exist as a whole."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

# Scores of one block of queries: a head this wide is often not fused, and then they do exist.
MAX_SCORES = 1 << 26


def attend(queries: Tensor, keys: Tensor, values: Tensor, max_scores: int = MAX_SCORES) -> Tensor:
    """Softmax attention of queries `[B, Q, C]` over keys and values `[B, K, C]`: `[B, Q, C]`."""
    block = max(1, max_scores // keys.shape[1])
    parts = [
        # Four dimensions: with three, the fused kernels are not taken.
        F.scaled_dot_product_attention(part[:, None], keys[:, None], values[:, None])[:, 0]
        for part in torch.split(queries, block, dim=1)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def attend_in_blocks(queries: Tensor, blocks: Iterable[tuple[Tensor, Tensor]], max_scores: int = MAX_SCORES) -> Tensor:
    """The same over keys and values that come in blocks, of which one is held at a time, computed in fp32.

    The softmax is normalised at the end: each block's sums are kept relative to the greatest score so far (the online
    softmax of Milakov and Gimelshein, arXiv 1805.02867).
    """
    batch, count, width = queries.shape
    device = queries.device
    peak = torch.full((batch, count, 1), -torch.inf, device=device)
    total = torch.zeros(batch, count, 1, device=device)
    sums = torch.zeros(batch, count, width, device=device)
    scaled = queries.float() * width**-0.5
    for block in blocks:
        keys, values = (part.float() for part in block)
        step = max(1, max_scores // keys.shape[1])
        for start in range(0, count, step):
            rows = slice(start, start + step)
            scores = scaled[:, rows] @ keys.transpose(1, 2)
            highest = torch.maximum(peak[:, rows], scores.amax(dim=2, keepdim=True))
            weights = scores.sub_(highest).exp_()
            decay = torch.exp(peak[:, rows] - highest)
            total[:, rows] = total[:, rows] * decay + weights.sum(dim=2, keepdim=True)
            sums[:, rows] = sums[:, rows] * decay + weights @ values
            peak[:, rows] = highest
    return (sums / total).to(queries.dtype)
