"""Training curves for TensorBoard, if the extra `log` is installed."""

from collections.abc import Callable
from pathlib import Path


def tensorboard_report(folder: Path) -> Callable[[int, dict[str, float]], None] | None:
    """Return a function that writes named figures of a step into `folder`, or None without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer = SummaryWriter(str(folder))

    def report(step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    return report
