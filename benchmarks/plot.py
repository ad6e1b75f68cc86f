"""The plot of a run: a bar for each row's ratio, with a mark at its target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import Result

MET, SHORT, MARK = "#2a7f62", "#c0603a", "#222222"
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def draw(results: Sequence[Result], title: str, path: Path) -> bool:
    """Write the plot to `path`; the suffix chooses the format.  False if nothing was measured."""
    measured = [(result, ratio) for result in results if (ratio := result.ratio) is not None]
    if not measured:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured.reverse()
    # Glyphs as text keep the file small and the words searchable; no date, so that a run
    # with the same figures gives the same file.
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "treadle"}):
        figure, axes = pyplot.subplots(figsize=(9, 1 + 0.42 * len(measured)))
        _bars(axes, measured)
        axes.set_title(title, fontsize=10)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)
    return True


def _bars(axes: object, measured: Sequence[tuple[Result, float]]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    ratios = [ratio for _, ratio in measured]
    axes.barh(
        [result.row.title for result, _ in measured],
        ratios,
        color=[MET if result.met else SHORT for result, _ in measured],
    )
    targets = [result.row.target for result, _ in measured]
    axes.plot(targets, range(len(measured)), "|", color=MARK, markersize=16, label="target")
    for position, (ratio, target) in enumerate(zip(ratios, targets, strict=True)):
        axes.annotate(f"  {ratio:.2f}x", (max(ratio, target), position), va="center", fontsize=8)
    axes.margins(y=0.01)
    axes.axvline(1, color=MARK, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}x" for tick in TICKS])
    axes.set_xlim(left=min([0.6, *ratios]) / 1.2, right=max(ratios + targets) * 1.6)
    axes.set_xlabel("times cheaper than the cheapest baseline (log scale); a mark is the target")
