"""Every operator at the size of a real training step, in all forms that compute it, and the work that it takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

import _torch_forms as forms
from _ceilings import Work
from omniseg_kernels import (
    PinholeViews,
    SweepRule,
    agreeing_views,
    compositing,
    distortion,
    feature_smoothing,
    gather,
    hash_encoding,
    marching,
    occupancy,
    plane_sweep,
)
from omniseg_kernels.ray_aabb import ray_aabb
from omniseg_kernels.reference import compositing as compositing_reference
from omniseg_kernels.reference import depth_consistency as depth_consistency_reference
from omniseg_kernels.reference import distortion as distortion_reference
from omniseg_kernels.reference import feature_smoothing as feature_smoothing_reference
from omniseg_kernels.reference import gather as gather_reference
from omniseg_kernels.reference import hash_encoding as hash_encoding_reference
from omniseg_kernels.reference import marching as marching_reference
from omniseg_kernels.reference import occupancy as occupancy_reference
from omniseg_kernels.reference import plane_sweep as plane_sweep_reference
from omniseg_kernels.reference import spherical_harmonics as spherical_harmonics_reference
from omniseg_kernels.spherical_harmonics import spherical_harmonics

OURS = "taichi"
Form = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Size:
    """Sizes of a step."""

    samples: int = 65_536
    resolution: int = 128
    log2_table_limit: int = 24


QUICK = Size(samples=2000, resolution=32, log2_table_limit=12)


@dataclass(frozen=True)
class Case:
    """One operator at one size, in several forms that compute the same."""

    name: str
    size: str
    unit: str
    count: int
    reference: Form
    forms: dict[str, Form]
    work: tuple[Work, ...]
    """Work of one item, forward and, if there is a gradient, backward."""
    leaves: tuple[Tensor, ...] = ()
    tolerance: float = 1e-4
    """Largest error of our form, as a fraction of the largest value."""
    rivals_tolerance: float = 2e-3
    """The same of the torch forms, whose running sums over all rays lose some digits."""
    cotangents: tuple[Tensor, ...] = field(default=())

    def gradients(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the gradients of sum(output * cotangent) in the leaves."""
        pairs = [(out, g) for out, g in zip(outputs, self.cotangents) if out.requires_grad]
        return torch.autograd.grad([out for out, _ in pairs], self.leaves, [g for _, g in pairs])

    def run(self, form: Form) -> tuple[Tensor, ...]:
        """Return outputs and gradients of a form."""
        outputs = form()
        return outputs + (self.gradients(outputs) if self.leaves else ())


@dataclass(frozen=True)
class StepInputs:
    """Input of a step: random rays in a room with a ball in it, and their samples."""

    rays: tuple[Tensor, Tensor, Tensor]  # rays_o, rays_d, spans
    grid: marching.OccupancyBits
    rule: marching.StepRule
    samples: marching.RaySamples
    positions: Tensor  # (n_samples, 3) in [0, 1]

    @classmethod
    def make(cls, size: Size, device: torch.device) -> "StepInputs":
        """Make as many rays as have `size.samples` samples together."""
        cells = torch.arange(size.resolution**3, dtype=torch.int32, device=device)
        centres = occupancy.cell_centres(cells, size.resolution)
        ball = (centres.norm(dim=1) - 0.5).abs() < 0.04
        walls = centres.abs().amax(1) > 0.95
        densities = (ball | walls).float()[None]
        bits = occupancy.pack_bits(densities, 0.5)
        grid = marching.OccupancyBits(bits, 1, size.resolution)
        rule = marching.StepRule(3**0.5 / 512, 3**0.5 / 512)
        aabb = torch.tensor([-1.0] * 3 + [1.0] * 3, device=device)
        rays_o = 0.8 * torch.nn.functional.normalize(torch.randn(size.samples, 3), dim=1).to(device)
        rays_d = torch.nn.functional.normalize(torch.randn(size.samples, 3).to(device) - rays_o, dim=1)
        rays = rays_o, rays_d, torch.stack(ray_aabb(rays_o, rays_d, aabb, near=0.05), 1)
        counts = marching.march_rays(*rays, grid, rule).packed_info[:, 1]
        n_rays = int((counts.cumsum(0) <= size.samples).sum())
        rays_o, rays_d, spans = (x[:n_rays].contiguous() for x in rays)
        samples = marching.march_rays(rays_o, rays_d, spans, grid, rule)
        middles = 0.5 * (samples.t_starts + samples.t_ends)[:, None]
        ray = samples.ray_indices
        positions = rays_o.index_select(0, ray) + rays_d.index_select(0, ray) * middles
        return cls((rays_o, rays_d, spans), grid, rule, samples, (positions * 0.5 + 0.5).contiguous())


def hash_encoding_case(step: StepInputs, log2_table: int, finest: int, dtype: torch.dtype, compiled: bool) -> Case:
    """Return the case of encoding positions, with the gradient of the table."""
    layout = hash_encoding.HashLayout(16, 2, log2_table, 16, finest)
    device, x = step.positions.device, step.positions
    table = (2e-4 * torch.rand(layout.rows, 2, device=device) - 1e-4).requires_grad_()
    groups = forms.LevelGroup.from_layout(layout, device)
    torch_forms = {"torch corners": forms.cornered_encoding, "torch bags": forms.bag_encoding}
    if compiled:
        torch_forms["torch.compile"] = torch.compile(forms.unrolled_encoding)
    half = dtype == torch.bfloat16
    out = layout.channels * dtype.itemsize
    per_level = 12 + 22 + 8 * (4 + 2 * layout.features)  # cell, weights, row numbers, interpolation
    gathers = tuple((8 * rows, 8.0) for _, rows, _ in layout.slices)
    cleared = 8 * layout.rows / len(x)
    work = (
        Work(12 + out, layout.levels * per_level, gathers),
        Work(12 + out + cleared, layout.levels * per_level, gathers),
    )
    # In the dtype that an MLP reads, whose gradient comes back in it.
    rivals = {name: lambda form=form: (form(x, table, groups).to(dtype),) for name, form in torch_forms.items()}
    return Case(
        name="hash_encoding",
        size=f"L 16, F 2, 2^{log2_table}, finest {finest}, {'bfloat16' if half else 'float32'} out",
        unit="sample",
        count=len(x),
        reference=lambda: (hash_encoding_reference.hash_encode(x, table, layout),),
        forms={OURS: lambda: (hash_encoding.hash_encode(x, table, layout, out_dtype=dtype),), **rivals},
        work=work,
        leaves=(table,),
        tolerance=1e-2 if half else 1e-4,
        rivals_tolerance=1e-2 if half else 1e-4,
    )


def compositing_case(step: StepInputs, channels: int) -> Case:
    """Return the case of weights from densities and sums along rays."""
    samples, n = step.samples, step.samples.n_samples
    device, n_rays = samples.t_starts.device, len(samples.packed_info)
    ends, info = (samples.t_starts, samples.t_ends), samples.packed_info
    rays, first = samples.ray_indices.long(), info[:, 0].long().clamp(max=n - 1)
    sigmas = (40 * torch.rand(n, device=device)).requires_grad_()
    values = torch.rand(n, channels, device=device).requires_grad_()

    def ours(twin=compositing) -> tuple[Tensor, ...]:
        out = twin.volume_render(*ends, sigmas, values, info)
        return out.values, out.opacity, out.depth

    def in_torch() -> tuple[Tensor, ...]:
        return forms.composite(forms.render_weights(*ends, sigmas, rays, first), values, *ends, rays, n_rays)

    torch_forms: dict[str, Form] = {"torch": in_torch}
    if device.type == "cuda" and find_spec("nerfacc"):
        torch_forms["nerfacc"] = partial(forms.nerfacc_composite, *ends, sigmas, values, rays, n_rays)
    return Case(
        name="compositing",
        size=f"{channels} channels, opacity, depth, {n_rays} rays",
        unit="sample",
        count=n,
        reference=partial(ours, compositing_reference),
        forms={OURS: ours, **torch_forms},
        work=(Work(16 + 4 * channels, 25 + 2 * channels), Work(16 + 8 * channels, 10 + 3 * channels)),
        leaves=(sigmas, values),
    )


def distortion_case(step: StepInputs) -> Case:
    """Return the case of the distortion loss, with the gradient of the weights."""
    samples, n = step.samples, step.samples.n_samples
    ends, info = (samples.t_starts, samples.t_ends), samples.packed_info
    rays, first = samples.ray_indices.long(), info[:, 0].long().clamp(max=n - 1)
    weights = (torch.rand(n, device=rays.device) / 20).requires_grad_()
    return Case(
        name="distortion",
        size=f"{len(info)} rays",
        unit="sample",
        count=n,
        reference=lambda: (distortion_reference.distortion_loss(weights, *ends, info),),
        forms={
            OURS: lambda: (distortion.distortion_loss(weights, *ends, info),),
            "torch": lambda: (forms.distortion_loss(weights, *ends, rays, first),),
        },
        work=(Work(12, 10), Work(16, 18)),
        leaves=(weights,),
        rivals_tolerance=2e-2,
    )


def marching_case(step: StepInputs) -> Case:
    """Return the case of counting, packing and writing the samples of all rays, checked by their counts."""
    spans = (step.rays[2][:, 1] - step.rays[2][:, 0]) / step.rule.min_step
    steps, n_rays = int(spans.max().ceil()), len(step.rays[0])

    def counted(starts: Tensor, ray: Tensor) -> tuple[Tensor, ...]:
        # Rounding may put a sample on either side of a cell's border, so counts are summed over groups of rays.
        counts = torch.bincount(ray.long(), minlength=n_rays).double()
        return (counts[: n_rays - n_rays % 10].view(-1, 10).sum(1), starts.double().sum()[None])

    def ours(twin=marching) -> tuple[Tensor, ...]:
        samples = twin.march_rays(*step.rays, step.grid, step.rule, max_samples=4096)
        return samples.t_starts, samples.t_ends, samples.ray_indices

    def in_torch() -> tuple[Tensor, ...]:
        return forms.march_rays(*step.rays, step.grid, step.rule, steps)

    return MarchingCase(
        name="marching",
        size=f"{n_rays} rays, grid {step.grid.resolution}^3",
        unit="sample",
        count=step.samples.n_samples,
        reference=partial(ours, marching_reference),
        forms={OURS: ours, "torch": in_torch},
        # Counting and writing each look up the cell of a sample in about 40 operations; empty cells are not counted.
        work=(Work(12, 80),),
        tolerance=2e-2,
        rivals_tolerance=2e-2,
        blur=counted,
    )


@dataclass(frozen=True)
class MarchingCase(Case):
    """Case that is compared by figures that do not depend on rounding."""

    blur: Callable[[Tensor, Tensor], tuple[Tensor, ...]] = lambda starts, ray: (starts, ray)

    def run(self, form: Form) -> tuple[Tensor, ...]:
        """Return the sample counts of groups of rays, and the sum of the starts."""
        starts, _, ray = form()
        return self.blur(starts, ray)


def spherical_harmonics_case(step: StepInputs) -> Case:
    """Return the case of degree 4 at as many directions as samples."""
    dirs = torch.nn.functional.normalize(torch.randn_like(step.positions), dim=1).requires_grad_()
    ours, twin = spherical_harmonics, spherical_harmonics_reference.spherical_harmonics
    return Case(
        name="spherical_harmonics",
        size="degree 4",
        unit="direction",
        count=len(dirs),
        reference=lambda: (twin(dirs),),
        forms={OURS: lambda: (ours(dirs),), "torch": lambda: (twin(dirs),)},
        work=(Work(12 + 64, 60), Work(12 + 64 + 12, 120)),
        leaves=(dirs,),
    )


def occupancy_case(step: StepInputs, cascades: int = 3) -> Case:
    """Return the case of packing the bits of a grid."""
    densities = torch.rand(cascades, step.grid.resolution**3, device=step.positions.device)
    return Case(
        name="occupancy",
        size=f"pack {cascades} x {step.grid.resolution}^3",
        unit="cell",
        count=densities.numel(),
        reference=lambda: (occupancy_reference.pack_bits(densities, 0.5),),
        forms={
            OURS: lambda: (occupancy.pack_bits(densities, 0.5),),
            "torch": lambda: (occupancy_reference.pack_bits(densities, 0.5),),
        },
        work=(Work(4 + 1 / 8, 4),),
    )


def gather_case(step: StepInputs, channels: int = 16) -> Case:
    """Return the case of sample positions, and of joining channels of samples and rays for the colour MLP."""
    samples, device = step.samples, step.positions.device
    rays_o, rays_d, _ = step.rays
    ends, ray_indices = (samples.t_starts, samples.t_ends), samples.ray_indices
    of_rays = torch.rand(len(rays_o), channels, device=device).bfloat16()
    values = torch.rand(samples.n_samples, channels, device=device).bfloat16().requires_grad_()

    def ours(twin=gather) -> tuple[Tensor, ...]:
        positions = twin.sample_positions(rays_o, rays_d, *ends, ray_indices)
        return positions, twin.append_ray_channels(values, of_rays, ray_indices)

    def in_torch() -> tuple[Tensor, ...]:
        middles = 0.5 * (samples.t_starts + samples.t_ends)
        o, d = (rays.index_select(0, ray_indices) for rays in (rays_o, rays_d))
        return torch.addcmul(o, d, middles[:, None]), torch.cat([values, of_rays.index_select(0, ray_indices)], 1)

    return Case(
        name="gather",
        size=f"positions; {channels} + {channels} channels of bfloat16",
        unit="sample",
        count=samples.n_samples,
        reference=partial(ours, gather_reference),
        forms={OURS: ours, "torch": in_torch},
        work=(Work(12 + 12 + 6 * channels, 7), Work(4 * channels, 0)),
        leaves=(values,),
    )


def _row_of_views(step: StepInputs) -> tuple[PinholeViews, Tensor]:
    """Return views in a row that look the same way, half as many pixels as samples, and the three nearest of each."""
    n, device = max(4, len(step.positions) // 9600), step.positions.device
    c2w = torch.eye(3, 4, device=device).repeat(n, 1, 1)
    c2w[:, 0, 3] = 0.1 * torch.arange(n, device=device)
    views = PinholeViews(
        torch.tensor([[80, 60]], device=device).expand(n, 2),
        c2w,
        torch.tensor([[70.0, 70, 40, 30]], device=device).expand(n, 4),
    )
    places = torch.arange(n, device=device)
    return views, (places[:, None] - places).abs().topk(4, largest=False).indices[:, 1:].contiguous()


def plane_sweep_case(step: StepInputs) -> Case:
    """Return the case of sweeping views with three neighbours, checked by the scores of the distances found."""
    (views, neighbours), rule = _row_of_views(step), SweepRule()
    grey = torch.rand(views.n_pixels, device=neighbours.device)
    spans = torch.tensor([0.5, 8.0], device=grey.device).expand(len(grey), 2).contiguous()

    def ours(twin=plane_sweep) -> tuple[Tensor, ...]:
        return (twin(views, grey, spans, neighbours, rule).scores,)

    n_neighbours, side = neighbours.shape[1], 2 * rule.radius + 1
    samples = rule.planes * n_neighbours
    return Case(
        name="plane_sweep",
        size=f"{len(views)} views of 80 x 60, {rule.planes} planes, {n_neighbours} neighbours, window {side} x {side}",
        unit="sample",
        count=views.n_pixels * samples,
        reference=partial(ours, plane_sweep_reference.plane_sweep),
        forms={OURS: ours, "torch": partial(ours, plane_sweep_reference.plane_sweep)},
        # Warp 20, bilinear value 9, correlation 12, and sums of three products, first down and then along the window.
        work=(Work(20 / samples, 41 + 3 * 2 * side, ((4 * views.n_pixels, 2.0),)),),
        tolerance=1e-3,  # windows of little contrast, as in the tests
    )


def depth_consistency_case(step: StepInputs) -> Case:
    """Return the case of counting the views that agree, checked by the mean of each view."""
    views, others = _row_of_views(step)
    distances = 1 + torch.rand(views.n_pixels, device=others.device)

    def ours(twin=agreeing_views) -> tuple[Tensor, ...]:
        # A point on the border of two pixels may fall on either side.
        return (twin(views, distances, others, 0.1).float().view(len(views), -1).mean(1),)

    in_torch = partial(ours, depth_consistency_reference.agreeing_views)
    return Case(
        name="depth_consistency",
        size=f"{len(views)} views of 80 x 60, {others.shape[1]} others",
        unit="pixel",
        count=views.n_pixels,
        reference=in_torch,
        forms={OURS: ours, "torch": in_torch},
        work=(Work(8, 40 * others.shape[1], ((4 * views.n_pixels, float(others.shape[1])),)),),
        tolerance=2e-2,
        rivals_tolerance=2e-2,
    )


def feature_smoothing_case(step: StepInputs, dim: int = 32, n_guides: int = 4, rounds: int = 3) -> Case:
    """Return the case of smoothing a picture with as many pixels as samples."""
    side, device = max(int(len(step.positions) ** 0.5), 1), step.positions.device
    features = torch.nn.functional.normalize(1 + torch.randn(side, side, dim, device=device), dim=2)
    guides = torch.rand(side, side, n_guides, device=device)
    solid = torch.rand(side, side, device=device) < 0.9

    def ours(twin=feature_smoothing) -> tuple[Tensor, ...]:
        return (twin.smooth_features(features, guides, solid, rounds=rounds, agreement=20.0),)

    in_torch = partial(ours, feature_smoothing_reference)
    return Case(
        name="feature_smoothing",
        size=f"{side} x {side}, {dim} channels, {n_guides} guides, {rounds} rounds",
        unit="pixel",
        count=side * side,
        reference=in_torch,
        forms={OURS: ours, "torch": in_torch},
        # A round reads features, guides and mask and writes features; each neighbour costs a dot product, a distance of
        # guides, an exponential and a weighted sum.
        work=(Work(rounds * (8 * dim + 4 * n_guides + 1), rounds * 8 * (4 * dim + 3 * n_guides + 20)),),
    )


@dataclass(frozen=True)
class Row:
    """Operator at one size; `make` makes its case from the input of a step and whether to measure torch.compile."""

    operator: str
    make: Callable[[StepInputs, bool], Case]


def rows(size: Size) -> list[Row]:
    """Return the rows of the table, one line each."""
    small, large = min(17, size.log2_table_limit), min(19, size.log2_table_limit)
    float32, bfloat16 = torch.float32, torch.bfloat16
    return [
        Row("hash_encoding", lambda step, compiled: hash_encoding_case(step, small, 1024, float32, compiled)),
        Row("hash_encoding", lambda step, compiled: hash_encoding_case(step, small, 1024, bfloat16, compiled)),
        Row("hash_encoding", lambda step, compiled: hash_encoding_case(step, large, 4096, float32, compiled)),
        Row("compositing", lambda step, _: compositing_case(step, 3)),
        Row("compositing", lambda step, _: compositing_case(step, 16)),
        Row("marching", lambda step, _: marching_case(step)),
        Row("distortion", lambda step, _: distortion_case(step)),
        Row("spherical_harmonics", lambda step, _: spherical_harmonics_case(step)),
        Row("occupancy", lambda step, _: occupancy_case(step)),
        Row("gather", lambda step, _: gather_case(step)),
        Row("plane_sweep", lambda step, _: plane_sweep_case(step)),
        Row("depth_consistency", lambda step, _: depth_consistency_case(step)),
        Row("feature_smoothing", lambda step, _: feature_smoothing_case(step)),
    ]
