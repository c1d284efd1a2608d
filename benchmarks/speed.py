"""How fast the kernels are, against the same operators in PyTorch, at the sizes of a real training step.

    python benchmarks/speed.py [--quick] [--only NAME] [--rounds N] [--out FILE]

Every rival is first proved right against `omniseg_kernels.reference`, outputs and gradients; only then are
all of them timed, in turns. Figures are medians with quartiles. On a shared machine look at the ratios.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

# torch's threads wait busily for their next work and would steal the cores from everybody else's turn.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
from torch import Tensor

import _torch_forms as forms
from _timing import ROOT, Spread, compare, save, surroundings
from omniseg_kernels import compositing, distortion, hash_encoding, launch, marching, occupancy
from omniseg_kernels.ray_aabb import ray_aabb
from omniseg_kernels.reference import compositing as compositing_reference
from omniseg_kernels.reference import distortion as distortion_reference
from omniseg_kernels.reference import hash_encoding as hash_encoding_reference
from omniseg_kernels.reference import marching as marching_reference
from omniseg_kernels.reference import occupancy as occupancy_reference
from omniseg_kernels.reference import spherical_harmonics as spherical_harmonics_reference
from omniseg_kernels.spherical_harmonics import spherical_harmonics

OURS = "taichi"
Form = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Size:
    """How much work a step has."""

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
    leaves: tuple[Tensor, ...] = ()
    tolerance: float = 1e-4
    """Largest error of ours, as a part of the largest value."""
    rivals_tolerance: float = 2e-3
    """Of the torch forms: running sums over all rays at once lose some digits."""
    cotangents: tuple[Tensor, ...] = field(default=())

    def gradients(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of sum(output * cotangent) in the leaves."""
        return torch.autograd.grad(outputs, self.leaves, self.cotangents)

    def run(self, form: Form) -> tuple[Tensor, ...]:
        """Outputs and gradients."""
        outputs = form()
        return outputs + (self.gradients(outputs) if self.leaves else ())


@dataclass(frozen=True)
class StepInputs:
    """Rays of cameras around a room with a ball in it, marched: what a step is made of."""

    rays: tuple[Tensor, Tensor, Tensor]  # rays_o, rays_d, spans
    grid: marching.OccupancyBits
    rule: marching.StepRule
    samples: marching.RaySamples
    positions: Tensor  # (n_samples, 3) in [0, 1]

    @classmethod
    def make(cls, size: Size, device: torch.device) -> "StepInputs":
        """As many rays as have `size.samples` samples together."""
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
    """Encoding of positions, gradient of the table."""
    layout = hash_encoding.HashLayout(16, 2, log2_table, 16, finest)
    device, x = step.positions.device, step.positions
    table = (2e-4 * torch.rand(layout.rows, 2, device=device) - 1e-4).requires_grad_()
    groups = forms.LevelGroup.of(layout, device)
    torch_forms = {"torch gathers": forms.gathered_encoding, "torch bags": forms.bag_encoding}
    if compiled:
        torch_forms["torch.compile"] = torch.compile(forms.unrolled_encoding)
    half = dtype == torch.bfloat16
    # As a bfloat16 MLP would take it and give its gradient back.
    rivals = {name: lambda form=form: (form(x, table, groups).to(dtype),) for name, form in torch_forms.items()}
    return Case(
        name="hash_encoding",
        size=f"L 16, F 2, 2^{log2_table}, finest {finest}, {'bfloat16' if half else 'float32'} out",
        unit="sample",
        count=len(x),
        reference=lambda: (hash_encoding_reference.hash_encode(x, table, layout),),
        forms={OURS: lambda: (hash_encoding.hash_encode(x, table, layout, out_dtype=dtype),), **rivals},
        leaves=(table,),
        tolerance=1e-2 if half else 1e-4,
        rivals_tolerance=1e-2 if half else 1e-4,
    )


def compositing_case(step: StepInputs, channels: int) -> Case:
    """Weights from densities, then the sums along rays."""
    samples, n = step.samples, step.samples.n_samples
    device, n_rays = samples.t_starts.device, len(samples.packed_info)
    ends, info = (samples.t_starts, samples.t_ends), samples.packed_info
    rays, first = samples.ray_indices.long(), info[:, 0].long().clamp(max=n - 1)
    sigmas = (40 * torch.rand(n, device=device)).requires_grad_()
    values = torch.rand(n, channels, device=device).requires_grad_()

    def ours(twin=compositing) -> tuple[Tensor, ...]:
        weights = twin.render_weights(*ends, sigmas, info)
        out = twin.composite(weights, values, *ends, info)
        return out.values, out.opacity, out.depth

    def in_torch() -> tuple[Tensor, ...]:
        return forms.composite(forms.render_weights(*ends, sigmas, rays, first), values, *ends, rays, n_rays)

    return Case(
        name="compositing",
        size=f"{channels} channels, opacity, depth, {n_rays} rays",
        unit="sample",
        count=n,
        reference=partial(ours, compositing_reference),
        forms={OURS: ours, "torch": in_torch},
        leaves=(sigmas, values),
    )


def distortion_case(step: StepInputs) -> Case:
    """Distortion loss, gradient of the weights."""
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
        leaves=(weights,),
        rivals_tolerance=2e-2,
    )


def marching_case(step: StepInputs) -> Case:
    """Counting, packing and writing the samples of all rays. Checked by how many samples each ray has."""
    steps = int(((step.rays[2][:, 1] - step.rays[2][:, 0]).max() / step.rule.min_step).ceil())
    n_rays = len(step.rays[0])

    def counted(starts: Tensor, ray: Tensor) -> tuple[Tensor, ...]:
        # A sample may fall on either side of a cell's border by rounding: the figures are blurred as much.
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
        tolerance=2e-2,
        rivals_tolerance=2e-2,
        blur=counted,
    )


@dataclass(frozen=True)
class MarchingCase(Case):
    """Compares what rounding does not decide."""

    blur: Callable[[Tensor, Tensor], tuple[Tensor, ...]] = lambda starts, ray: (starts, ray)

    def run(self, form: Form) -> tuple[Tensor, ...]:
        """Counts of groups of rays, sum of the starts."""
        starts, _, ray = form()
        return self.blur(starts, ray)


def spherical_harmonics_case(step: StepInputs) -> Case:
    """Degree 4, one direction a ray, as many as samples."""
    dirs = torch.nn.functional.normalize(torch.randn_like(step.positions), dim=1).requires_grad_()
    ours, twin = spherical_harmonics, spherical_harmonics_reference.spherical_harmonics
    return Case(
        name="spherical_harmonics",
        size="degree 4",
        unit="direction",
        count=len(dirs),
        reference=lambda: (twin(dirs),),
        forms={OURS: lambda: (ours(dirs),), "torch": lambda: (twin(dirs),)},
        leaves=(dirs,),
    )


def occupancy_case(step: StepInputs, cascades: int = 3) -> Case:
    """Packing the bits of a grid."""
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
    )


def cases(size: Size, device: torch.device, compiled: bool) -> list[Callable[[], Case]]:
    """One line a row of the table; a new operator is one more."""
    step = StepInputs.make(size, device)
    small, large = min(17, size.log2_table_limit), min(19, size.log2_table_limit)
    return [
        lambda: hash_encoding_case(step, small, 1024, torch.float32, compiled),
        lambda: hash_encoding_case(step, small, 1024, torch.bfloat16, compiled),
        lambda: hash_encoding_case(step, large, 4096, torch.float32, compiled),
        lambda: compositing_case(step, 3),
        lambda: compositing_case(step, 16),
        lambda: marching_case(step),
        lambda: distortion_case(step),
        lambda: spherical_harmonics_case(step),
        lambda: occupancy_case(step),
    ]


def check(case: Case) -> Case:
    """Prove every form right; returns the case with the cotangents that were used.

    Raises:
        SystemExit: a form is wrong. Nothing is timed then.
    """
    torch.manual_seed(1)
    if case.leaves:
        outputs = next(iter(case.forms.values()))()
        case = replace(case, cotangents=tuple(torch.randn_like(out) for out in outputs))
        exact = replace(case, cotangents=tuple(g.float() for g in case.cotangents))
    else:
        exact = case
    want = exact.run(case.reference)
    for name, form in case.forms.items():
        tolerance = case.tolerance if name == OURS else case.rivals_tolerance
        for n, (got, right) in enumerate(zip(case.run(form), want)):
            if got.shape != right.shape:
                sys.exit(f"{case.name}, {name}: result {n} has shape {tuple(got.shape)}, not {tuple(right.shape)}")
            scale = right.double().abs().max().item() if right.numel() else 0.0
            error = (got.double() - right.double()).abs().max().item() if right.numel() else 0.0
            if not error <= tolerance * scale:
                sys.exit(f"{case.name} ({case.size}), {name}: result {n} is wrong by {error:.3g} of {scale:.3g}")
    return case


def measure(case: Case, rounds: int) -> dict:
    """Times of all forms of a case that is proved right."""
    phases = {}
    for name, form in case.forms.items():
        forward = [lambda _, form=form: form()]
        phases[name] = [*forward, lambda outputs: case.gradients(outputs)] if case.leaves else forward
    spreads = compare(phases, rounds)
    return {
        "operator": case.name,
        "size": case.size,
        "unit": case.unit,
        "count": case.count,
        "seconds": {
            name: {phase: asdict(spread) for phase, spread in zip(("forward", "backward"), columns)}
            for name, columns in spreads.items()
        },
        "per_second": {name: case.count / _total(columns) for name, columns in spreads.items()},
        "times_faster": {
            name: _total(columns) / _total(spreads[OURS]) for name, columns in spreads.items() if name != OURS
        },
    }


def _total(columns: Sequence[Spread]) -> float:
    return sum(spread.median for spread in columns)


def table(row: dict) -> str:
    """A measured row, readable."""
    lines = [f"{row['operator']}: {row['size']}; {row['count']:,} {row['unit']}s"]
    for name, phases in row["seconds"].items():
        cells = []
        for phase in ("forward", "backward"):
            ns = {key: 1e9 * value / row["count"] for key, value in phases.get(phase, {}).items()}
            cells.append(f"{ns['median']:8.1f} ({ns['low']:.1f}-{ns['high']:.1f})" if ns else "")
        ratio = row["times_faster"].get(name)
        factor = "" if ratio is None else f"{ratio:6.1f} x ours"
        rate = row["per_second"][name] / 1e6
        lines.append(f"  {name:14} {cells[0]:>26} {cells[1]:>26} {rate:9.1f} M/s  {factor}")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds: does everything run?")
    parser.add_argument("--only", default="", help="only operators whose name contains this")
    parser.add_argument("--rounds", type=int, default=15, help="how often each form is timed")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (it takes a minute)")
    parser.add_argument("--threads", type=int, help="CPU threads of both torch and the kernels (default: all)")
    parser.add_argument("--arch", choices=("cpu", "cuda"), default="cpu", help="where to run")
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/speed-ARCH.json)")
    options = parser.parse_args()
    launch.init(options.arch, threads=options.threads)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rounds = 2 if options.quick else max(options.rounds, 1)
    size = QUICK if options.quick else Size()
    rows = []
    print(
        "nanoseconds per item, median (quartiles): forward, backward; million items a second; ratio",
        flush=True,
    )
    for make in cases(size, torch.device(options.arch), not (options.quick or options.no_compile)):
        case = make()
        if options.only in case.name:
            rows.append(measure(check(case), rounds))
            print(table(rows[-1]), flush=True)
    if not rows:
        sys.exit(f"--only {options.only}: no such operator")
    default = None if options.quick or options.only else ROOT / f"benchmarks/results/speed-{options.arch}.json"
    if out := options.out or default:
        save(out, {"surroundings": surroundings(), "quick": options.quick, "rounds": rounds, "rows": rows})
        print(f"written: {out}")


if __name__ == "__main__":
    main()
