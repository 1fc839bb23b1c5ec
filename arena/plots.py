"""What all figures share: colours, line styles, how they are written. On white, to read the same in light and dark viewers."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from submission.files import write_whole

# distinguishable for colour-blind readers; line styles tell those apart that come after
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":")


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure; whoever reads `path` finds a whole one."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    write_whole(path, picture.getvalue())
