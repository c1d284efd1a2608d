"""Growth of costs with the size of the problem."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from _operators import OURS, Case, Size, StepInputs, compositing_case, hash_encoding_case, marching_case
from _steps import Capture
from _timing import compare
from omniseg.data.images import ImageSet
from omniseg.data.rays import RaySampler
from omniseg.training.radiance import RadianceTrainer


def growth(capture: Capture, quick: bool, rounds: int) -> list[dict]:
    """Time operations over the quantities that they depend on.

    Returns:
        For each operation: `what` it is, the quantity it is timed `over`, its `values`, and median `seconds` at each.
    """
    device, largest = capture.images.pixels.device, 12 if quick else 18
    inputs = {
        log2: StepInputs.make(Size(1 << log2, 32 if quick else 128), device) for log2 in range(10, largest + 1, 2)
    }
    typical = inputs[min(16, largest)]
    float32, table = torch.float32, 12 if quick else 17

    def encoding(step: StepInputs, log2_table: int) -> Case:
        return hash_encoding_case(step, log2_table, 1024, float32, compiled=False)

    rows = [
        _row("encoding", "samples", {1 << k: _case(encoding(step, table)) for k, step in inputs.items()}, rounds),
        _row(
            "compositing, 3 channels",
            "samples",
            {1 << k: _case(compositing_case(i, 3)) for k, i in inputs.items()},
            rounds,
        ),
        _row("marching", "rays", {len(i.rays[0]): _case(marching_case(i)) for i in inputs.values()}, rounds),
        _row(
            "encoding",
            "rows of a level",
            {1 << k: _case(encoding(typical, k)) for k in range(10, 13 if quick else 21, 2)},
            rounds,
        ),
        _row(
            "compositing",
            "channels",
            {n: _case(compositing_case(typical, n)) for n in ((1, 4) if quick else (1, 4, 16, 32, 64, 128))},
            rounds,
        ),
    ]
    trainer = RadianceTrainer(capture.config, capture.images)
    for _ in range(2 if quick else 64):
        trainer.step()
    pictures = {}
    for n in (16, 64) if quick else (100, 200, 400, 800):
        cameras = capture.images.cameras.resized(n)
        rays = cameras.image_rays(0)
        pictures[n] = lambda rays=rays: trainer.renderer.render(*rays)
    rows.append(_row("picture", "pixels a row", pictures, max(rounds // 4, 1)))
    counts = (2, 8) if quick else (10, 100, 1000)
    sets = {n: _sampling(_repeated(capture.images, n), device) for n in counts}
    rows.append(_row("1024 rays of random pixels", "images", sets, rounds))
    return rows


def _case(case: Case) -> Callable[[], object]:
    """Return a function that runs our form forward and backward."""
    if case.leaves:
        case = replace(case, cotangents=tuple(torch.randn_like(out) for out in case.forms[OURS]()))
    return lambda: case.run(case.forms[OURS])


def _sampling(images: ImageSet, device: torch.device) -> Callable[[], object]:
    sampler = RaySampler(images, torch.Generator(device).manual_seed(0))
    return lambda: sampler.sample(1024)


def _repeated(images: ImageSet, n: int) -> ImageSet:
    """Return a set of n images that repeats those of the capture."""
    views = [k % len(images) for k in range(n)]
    pixels = torch.cat([images.image(view).reshape(-1, images.pixels.shape[1]) for view in views])
    sizes = images.sizes[views]
    offsets = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)])
    return replace(
        images,
        pixels=pixels,
        offsets=offsets,
        sizes=sizes,
        cameras=images.cameras[views],
        names=tuple(map(str, range(n))),
        depths=None,
    )


def _row(what: str, over: str, forms: dict[int, Callable[[], object]], rounds: int) -> dict:
    spreads = compare({str(value): [lambda _, form=form: form()] for value, form in forms.items()}, rounds)
    seconds = [spread.median for (spread,) in spreads.values()]
    return {"what": what, "over": over, "values": list(forms), "seconds": seconds}


def lines(rows: Sequence[dict]) -> list[str]:
    """Format rows: milliseconds, and the exponent of growth between the two largest values."""
    out = []
    for row in rows:
        values, seconds = row["values"], row["seconds"]
        cells = ", ".join(f"{value}: {1e3 * s:.2f}" for value, s in zip(values, seconds))
        (low, high), (first, last) = values[-2:], seconds[-2:]
        power = math.log(last / first) / math.log(high / low)
        out.append(f"{row['what']} over {row['over']}, ms: {cells}; growth at the end: power {power:.1f}")
    return out
