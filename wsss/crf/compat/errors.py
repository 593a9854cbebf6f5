"""What a caller of pydensecrf's interface does wrong."""

from wsss.errors import WsssError


class DenseCRFError(WsssError, ValueError):
    """One sentence, and a ValueError as pydensecrf raises."""
