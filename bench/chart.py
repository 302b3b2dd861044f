"""Draws the charts of the benchmark: one SVG file for each group of figures that workloads.py declares.

Usage: chart.py RESULTS.csv DIRECTORY
"""

import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from workloads import SIDES, WORKLOADS

COLUMNS = 2  # panels side by side
PANEL_WIDTH, BAR_HEIGHT, PANEL_MARGIN = 5.2, 0.27, 0.85  # inches
COLOURS = {"libloop-uring": "#0b5fa5", "libloop-epoll": "#4f9bd9", "limit": "#c9c9c9", "peer": "#8a8a8a"}


def read_figures(path):
    """Return {(workload, metric): {side: [figure of each round]}}, of the ways that stand in the table."""
    figures = defaultdict(lambda: defaultdict(list))
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            if line["stands"] == "yes":
                figures[line["workload"], line["metric"]][line["side"]].append(float(line["value"]))
    return figures


def chart_groups(figures):
    """Return {chart: [(workload, metric)]} of all that was measured, as declared."""
    groups = defaultdict(list)
    for workload in WORKLOADS:
        for metric in workload.metrics:
            if metric.chart and (workload.name, metric.name) in figures:
                groups[metric.chart].append((workload, metric))
    return groups


def number(value):
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    if value >= 1e4:
        return f"{value / 1e3:.3g} k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_panel(axes, metric, by_side):
    """One bar for each side, the median; the thin line goes from the least to the most."""
    sides = [side for side in SIDES if by_side.get(side.name)]
    places = range(len(sides))
    medians = [statistics.median(by_side[side.name]) for side in sides]
    spans = [[median - min(by_side[side.name]) for side, median in zip(sides, medians)],
             [max(by_side[side.name]) - median for side, median in zip(sides, medians)]]
    colours = [COLOURS.get(side.name, COLOURS.get(side.role)) for side in sides]
    axes.barh(places, medians, color=colours, xerr=spans, error_kw={"elinewidth": 0.8, "ecolor": "#333333"})
    widest = max(median + more for median, more in zip(medians, spans[1])) or 1
    for place, median, more in zip(places, medians, spans[1]):
        axes.text(median + more + widest * 0.015, place, number(median), va="center", fontsize=8)
    axes.set_xlim(0, widest * 1.16)
    axes.set_yticks(list(places), [side.name for side in sides], fontsize=8)
    axes.invert_yaxis()
    title = f"{metric.label.strip()}\n{metric.unit}, {metric.better} is better"
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(axis="x", labelsize=7)
    axes.xaxis.set_major_formatter(lambda value, _: number(value) if value else "0")
    axes.spines[["top", "right"]].set_visible(False)


def draw(path, panels, figures, pyplot):
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    most = max(len(figures[workload.name, metric.name]) for workload, metric in panels)
    figure, grid = pyplot.subplots(rows, columns, squeeze=False, layout="constrained",
                                   figsize=(PANEL_WIDTH * columns, (most * BAR_HEIGHT + PANEL_MARGIN) * rows))
    for axes in grid.flat[len(panels):]:
        axes.set_visible(False)
    for axes, (workload, metric) in zip(grid.flat, panels):
        draw_panel(axes, metric, figures[workload.name, metric.name])
    # Without a date and with fixed identifiers the same figures give the same file.
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw_charts(results, directory):
    """Draw what results.csv has, and return the files."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "libloop"
    matplotlib.rcParams["svg.fonttype"] = "none"  # text as text, not as outlines
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    figures = read_figures(results)
    paths = []
    for name, panels in chart_groups(figures).items():
        paths.append(directory / f"{name}.svg")
        draw(paths[-1], panels, figures, pyplot)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print("\n".join(map(str, draw_charts(Path(sys.argv[1]), Path(sys.argv[2])))))
