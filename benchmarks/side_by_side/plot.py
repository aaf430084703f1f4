"""The contest as a picture: for each row, a bar to a contestant."""

from collections.abc import Iterator
from html import escape

from side_by_side.comparison import BASELINE, BOOKIT, CONTESTANTS, EMPTY, PGBENCH, PLAIN, ROWS, TWO
from side_by_side.targets import Middles

COLOURS = {EMPTY: "#b8b8b8", PLAIN: "#8c8c8c", PGBENCH: "#5b8db8", BASELINE: "#d98a3d", BOOKIT: "#1f7a4d",
           TWO: "#63b58a"}  # fmt: skip
WIDTH, NAMES, BAR, GAP, HEAD = 900, 190, 16, 5, 34


def drawing(middles: Middles) -> str:
    """Draw it as SVG; each row has a scale of its own, to its most requests a second."""
    parts, top = list[str](), 50
    for row, title in ROWS.items():
        names = [name for name in CONTESTANTS if (row, name) in middles]
        if names:
            parts += panel(middles, row, title, names, top)
            top += HEAD + len(names) * (BAR + GAP) + 14
    words = "Requests a second on this machine, and CPU microseconds a request (server and PostgreSQL together)"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" aria-label="{words}">',
        "<style>text { font: 12px sans-serif; fill: #333333 }</style>",
        f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>',
        f'<text x="16" y="30" style="font-size: 16px">{words}</text>',
        *parts, "</svg>", "",
    ])  # fmt: skip


def panel(middles: Middles, row: str, title: str, names: list[str], top: int) -> Iterator[str]:
    most = max(middles[row, name].rate for name in names)
    yield f'<text x="16" y="{top + 20}" style="font: bold 14px sans-serif">{escape(title)}</text>'
    for at, name in enumerate(names):
        found, y = middles[row, name], top + HEAD + at * (BAR + GAP)
        length = max(1, (WIDTH - NAMES - 200) * found.rate / most)
        text = f"{found.rate:,.0f}/s, {found.whole:,.0f} µs"
        yield f'<text x="{NAMES - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{NAMES}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[name]}"/>'
        yield f'<text x="{NAMES + length + 6:.1f}" y="{y + 12}">{text}</text>'
