"""How the columns of an evaluation and the figures in them are written."""

COLUMNS = {
    "configured": "as configured",
    "single": "single scale",
    "scales": "scales + flip",
    "crf": "scales + flip + CRF",
}
# what a column is compared by
FIGURES = ("miou", "boundary_miou")


def percent(share: float | None) -> str:
    """A share in per cent with one digit; a dash for what nothing is known of."""
    return "–" if share is None else f"{100 * share:.1f}"
