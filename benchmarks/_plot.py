"""Plot of measured speeds."""

from pathlib import Path


def plot(result: dict, path: Path) -> bool:
    """Write a PNG of operators, parts of a step, and growth; returns False, and writes nothing, without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(17, 7), width_ratios=[2, 1, 1.4], layout="constrained")
    _operators(axes[0], result.get("rows", []))
    _parts(axes[1], result.get("steps") or {})
    _growth(axes[2], result.get("growth", []))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
    return True


def _operators(axes, rows: list[dict]) -> None:
    colours, place, ticks = {}, 0.0, {}
    for row in rows:
        ticks[place] = f"{row['operator']}\n{row['size']}"
        for name, phases in row["seconds"].items():
            ns = 1e9 * sum(phase["median"] for phase in phases.values()) / row["count"]
            new = name not in colours
            colours.setdefault(name, f"C{len(colours)}")
            axes.barh(place, ns, color=colours[name], label=name if new else None)
            place += 1
        ns = 1e9 * sum(row["floor_seconds"].values()) / row["count"]
        axes.plot([ns, ns], [place - len(row["seconds"]) - 0.5, place - 0.5], color="black", linewidth=1.5)
        place += 0.7
    axes.set(xscale="log", xlabel="ns an item, forward + backward; line: least time by measured limits")
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7)
    axes.invert_yaxis()
    if rows:
        axes.legend(fontsize=8)


def _parts(axes, steps: dict) -> None:
    stages, colours = [name for name in ("radiance", "features") if name in steps], {}
    for column, stage in enumerate(stages):
        bottom = 0.0
        for part, seconds in sorted(steps[stage]["parts"].items(), key=lambda item: -item[1]):
            colour = colours.setdefault(part, f"C{len(colours) % 10}")
            axes.bar(column, 1e3 * seconds, bottom=bottom, width=0.7, color=colour)
            if seconds > 0.02 * sum(steps[stage]["parts"].values()):
                axes.text(column, bottom + 500 * seconds, part, ha="center", va="center", fontsize=8)
            bottom += 1e3 * seconds
    axes.set(ylabel="ms of a training step")
    axes.set_xticks(range(len(stages)), stages)


def _growth(axes, rows: list[dict]) -> None:
    for row in rows:
        relative = [value / row["values"][-1] for value in row["values"]]
        axes.plot(relative, [1e3 * s for s in row["seconds"]], marker="o", label=f"{row['what']} / {row['over']}")
    axes.set(xscale="log", yscale="log", xlabel="share of the largest value", ylabel="ms")
    if rows:
        axes.legend(fontsize=7)
