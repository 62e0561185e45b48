"""Losses for images that share texts: a contrast of both directions, or a question for each image and text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_loss(image_embeds: Tensor, text_embeds: Tensor, truth: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross entropy between cosine similarities and what is known to be true.

    CLIP (Radford et al. 2021, figure 3) takes text j as a negative of image i whenever i ≠ j, although short reports
    repeat: "no pneumothorax" is true of most chests. Here the target of a row (of a column) is spread evenly over all
    texts (images) known to match, so that a true text is never a negative. With all texts different and one for each
    image this is exactly open_clip's ClipLoss.

    Args:
        image_embeds: (N, D) float32, L2-normalised.
        text_embeds: (T, D) float32, L2-normalised, all texts different.
        truth: (N, T) float32 in [0, 1], how true a text is of an image; above 0 somewhere in every row and column.
        logit_scale: scalar, already exponentiated.

    Returns:
        Scalar float32: mean over images and mean over texts, averaged.
    """
    logits = logit_scale * image_embeds @ text_embeds.T
    return (_soft_cross_entropy(logits, truth) + _soft_cross_entropy(logits.T, truth.T)) / 2


def grouped_loss(
    image_embeds: Tensor, text_embeds: Tensor, truth: Tensor, shown: Tensor, groups: Tensor, logit_scale: Tensor
) -> Tensor:
    """`contrastive_loss` within each group of the batch, averaged over groups in proportion to their images.

    Args:
        shown: (N, T) bool: the texts drawn for each image; a text takes part in the groups whose images brought it.
        groups: (N,) int64, group of each image. A group of one image and one text has nothing to contrast: it adds 0.
    """
    total = image_embeds.new_zeros(())
    for group in sorted(set(groups.tolist())):
        rows = (groups == group).to(truth.device)
        columns = shown[rows].any(dim=0)
        part = contrastive_loss(image_embeds[rows], text_embeds[columns], truth[rows][:, columns], logit_scale)
        total = total + part * rows.sum() / len(groups)
    return total


def sigmoid_loss(
    image_embeds: Tensor,
    text_embeds: Tensor,
    truth: Tensor,
    shown: Tensor,
    groups: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
) -> Tensor:
    """Is this text true of this image? Binary cross entropy over every image and text of the batch within a group.

    SigLIP's loss (Zhai et al. 2023, equation 1) with what is known to be true in place of the pairs' diagonal, and
    its mean over image and text in place of the sum over texts: texts are as many as are drawn. Unlike a contrast, in
    which a common text and a rare one share a row's target, every answer of a group counts the same. Groups count in
    proportion to their images, as in `grouped_loss`: a mean over all answers would forget a group of few images,
    whose answers are fewer with the square of its size.

    Args:
        truth, shown, groups: as in `grouped_loss`; `groups` stay on the CPU, whatever the device.
        logit_bias: scalar, log odds of a text whose cosine with the image is 0.
    """
    members = (groups[None] == torch.tensor(sorted(set(groups.tolist())))[:, None]).to(truth.device)
    asked = (members.float() @ shown.float() > 0).float()  # (G, T): a group's texts are those its images brought
    cells = members.T.float() @ (asked / asked.sum(dim=1, keepdim=True))  # each row sums to 1
    logits = logit_scale * image_embeds @ text_embeds.T + logit_bias
    losses: Tensor = functional.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
    mean: Tensor = (losses * cells).sum() / len(groups)
    return mean


def _soft_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    target = truth.to(logits.dtype)
    target = target / target.sum(dim=1, keepdim=True)
    return -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()
