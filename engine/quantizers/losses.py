"""The terms of DSIRM's quantizer loss, with the reduction of each stated, and its two gradient estimators.

DSIRM's latents are unit vectors, so there every term has a fixed scale and none can be lowered by shrinking the latents
(the way published reproductions collapsed); TIGER's are not, as in its paper. Reductions:

- `info_nce`: mean over the rows of both directions;
- `commitment`: squared distance summed over the d dimensions, mean over rows and levels;
- `reconstruction`: squared distance summed over the D dimensions, mean over rows;
- `repulsion`: mean over the pairs that share a SID.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from engine.quantizers.residual import Residuals

REPEL_MARGIN = 0.5
"""Cosine of two latents below which they are far enough apart."""


def info_nce(query_Bd: torch.Tensor, item_Bd: torch.Tensor, known_BB: torch.Tensor, tau: float) -> torch.Tensor:
    """Symmetric InfoNCE on cosines with in-batch negatives (van den Oord et al. 2018, arXiv 1807.03748).

    Row b of both sides is a positive pair. `known_BB[b, c]` is True where item c is a known positive of query b: such
    pairs are no negatives in either direction; the diagonal always counts as the positive. Mean of query -> item
    and item -> query, each the mean over its B rows of -log softmax(cosine / tau) at the positive.
    """
    similarity_BB = functional.normalize(query_Bd, dim=1) @ functional.normalize(item_Bd, dim=1).T / tau
    itself_BB = torch.eye(len(similarity_BB), dtype=torch.bool, device=similarity_BB.device)
    similarity_BB = similarity_BB.masked_fill(known_BB & ~itself_BB, -torch.inf)
    target_B = torch.arange(len(similarity_BB), device=similarity_BB.device)
    forward = functional.cross_entropy(similarity_BB, target_B)
    backward = functional.cross_entropy(similarity_BB.T, target_B)
    return (forward + backward) / 2


def commitment(result: Residuals) -> torch.Tensor:
    """Pulls each level's residual towards the code vector chosen for it; the code vectors get no gradient."""
    return result.residuals[1:].square().sum(dim=2).mean()


def reconstruction(decoded_BD: torch.Tensor, x_BD: torch.Tensor) -> torch.Tensor:
    """Distance of what the decoder makes of the quantized vectors to the frozen embeddings."""
    return (decoded_BD - x_BD).square().sum(dim=1).mean()


def repulsion(one_Pd: torch.Tensor, other_Pd: torch.Tensor) -> torch.Tensor:
    """Pushes items that must not share a SID, but do, apart: mean over P pairs of max(0, cosine of their latents - margin).

    Of latents: what they are quantized to is the same vector. Nought without pairs.
    """
    if not len(one_Pd):
        return one_Pd.new_zeros(())
    return (functional.cosine_similarity(one_Pd, other_Pd, dim=1) - REPEL_MARGIN).clamp_min(0).mean()


def straight_through(latent: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """The quantized value with the latent's gradient (Bengio et al. 2013, arXiv 1308.3432)."""
    return latent + (quantized - latent).detach()


def rotate(latent: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """The quantized value, reached by rotating and scaling the latent with constants (Fifty et al. 2024, 2410.06424).

    With e the unit latent, q the unit quantized vector and r the unit vector of e + q, the rotation of x is
    x - 2 r (r . x) + 2 q (e . x).
    """
    e = functional.normalize(latent, dim=1).detach()
    q = functional.normalize(quantized, dim=1).detach()
    r = functional.normalize(e + q, dim=1)
    scale = (quantized.norm(dim=1, keepdim=True) / latent.norm(dim=1, keepdim=True).clamp_min(1e-12)).detach()
    onto_r = (latent * r).sum(dim=1, keepdim=True)
    onto_e = (latent * e).sum(dim=1, keepdim=True)
    return scale * (latent - 2 * onto_r * r + 2 * onto_e * q)
