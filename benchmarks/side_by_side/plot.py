"""The comparison as a chart: one panel a scenario, one bar a system."""

from collections.abc import Iterator
from html import escape

from side_by_side.comparison import BASELINE, BOOKIT, BOOKIT_TWO_WORKERS, EMPTY, PGBENCH, PLAIN, SCENARIOS, SYSTEMS
from side_by_side.targets import MedianResults

COLOURS = {EMPTY: "#b8b8b8", PLAIN: "#8c8c8c", PGBENCH: "#5b8db8", BASELINE: "#d98a3d", BOOKIT: "#1f7a4d",
           BOOKIT_TWO_WORKERS: "#63b58a"}  # fmt: skip
WIDTH, LABEL_WIDTH, BAR_HEIGHT, BAR_GAP, HEADING_HEIGHT = 900, 190, 16, 5, 34


def draw_chart(medians: MedianResults) -> str:
    """Return the chart as SVG. Each panel has its own scale, up to its highest rate."""
    parts, top = list[str](), 50
    for scenario, title in SCENARIOS.items():
        names = [name for name in SYSTEMS if (scenario, name) in medians]
        if names:
            parts += draw_panel(medians, scenario, title, names, top)
            top += HEADING_HEIGHT + len(names) * (BAR_HEIGHT + BAR_GAP) + 14
    caption = "Requests a second on this machine, and CPU microseconds a request (server and PostgreSQL together)"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" aria-label="{caption}">',
        "<style>text { font: 12px sans-serif; fill: #333333 }</style>",
        f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>',
        f'<text x="16" y="30" style="font-size: 16px">{caption}</text>',
        *parts, "</svg>", "",
    ])  # fmt: skip


def draw_panel(medians: MedianResults, scenario: str, title: str, names: list[str], top: int) -> Iterator[str]:
    highest = max(medians[scenario, name].rate for name in names)
    yield f'<text x="16" y="{top + 20}" style="font: bold 14px sans-serif">{escape(title)}</text>'
    for at, name in enumerate(names):
        result, y = medians[scenario, name], top + HEADING_HEIGHT + at * (BAR_HEIGHT + BAR_GAP)
        length = max(1, (WIDTH - LABEL_WIDTH - 200) * result.rate / highest)
        text = f"{result.rate:,.0f}/s, {result.total:,.0f} µs"
        yield f'<text x="{LABEL_WIDTH - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{LABEL_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" fill="{COLOURS[name]}"/>'
        yield f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{y + 12}">{text}</text>'
