"""Is a policy as sure as it is right? Bins of like confidence, and the mean gap over them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Decisions of like confidence: their mean confidence, and the share that agrees with the label."""

    confidence: float
    accuracy: float
    examples: int


def expected_calibration_error(
    confidence: NDArray[np.float64], correct: NDArray[np.float64], bins: int = ECE_BINS
) -> float | None:
    """Mean |confidence - accuracy| over ``bins`` bins of equal mass; None without examples or without confidences."""
    found = reliability(confidence, correct, bins)
    gaps = [abs(one.confidence - one.accuracy) * one.examples for one in found]
    return float(sum(gaps) / len(confidence)) if found else None


def reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.float64], bins: int = ECE_BINS
) -> list[ReliabilityBin]:
    """``bins`` bins of equal mass, least confident first; none without examples or without confidences."""
    if not len(confidence) or np.isnan(confidence).any():
        return []
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    return [
        ReliabilityBin(
            confidence=float(confidence[part].mean()), accuracy=float(correct[part].mean()), examples=len(part)
        )
        for part in parts
    ]
