"""Hierarchical contrastive loss in loops over clusters and levels, as its definition reads."""

import torch
from torch import Tensor

from omniseg.config import ContrastiveLoss


def looped_contrastive(
    features: Tensor,
    anchors: Tensor,
    correlation: Tensor,
    divisor: float,
    loss: ContrastiveLoss,
    temperature_range: tuple[float, float],
) -> Tensor:
    """Return the sum over pixels; arguments as of `omniseg.training.contrastive.hierarchical_contrastive`."""
    total = features.sum() * 0
    clusters = [features[anchors == c] for c in range(len(correlation))]
    centres, temperatures = [], []
    for f in clusters:
        n = torch.tensor(float(len(f)), dtype=features.dtype, device=features.device)
        centre = f.mean(0)
        spread = (f - centre).norm(dim=1).sum().detach()
        centres.append(centre)
        temperatures.append((10 * spread / (n * torch.log(n + 10))).clip(*temperature_range))
    for a, f in enumerate(clusters):
        logits = torch.stack([f @ u / phi for u, phi in zip(centres, temperatures)], dim=1)
        costs = -torch.log_softmax(logits, dim=1)
        largest = None
        shared = sorted({int(v) for v in correlation[a]} - {0}, reverse=True)
        for level, value in enumerate(shared):
            members = (correlation[a] == value).nonzero()[:, 0]
            if loss == "paper":
                terms, masses = costs[:, members], torch.ones(len(members), dtype=f.dtype, device=f.device)
                if largest is not None:
                    terms = torch.maximum(terms, largest)
                largest = terms.max(1, keepdim=True).values
            else:
                counts = torch.stack([(anchors == c).sum() for c in range(len(correlation))]).to(f.dtype)
                weighed = logits + counts.log()
                farther = weighed[:, correlation[a] < value]
                terms = torch.stack(
                    [-torch.log_softmax(torch.cat([weighed[:, [c]], farther], 1), 1)[:, 0] for c in members], dim=1
                )
                masses = counts[members]
            total = total + (terms * masses / masses.sum()).sum() * divisor**-level
    return total
