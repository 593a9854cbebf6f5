"""What a person's browser asks of `wsss review`, in place of the server that waits for it."""

import socket
from collections.abc import Sequence

from wsss.errors import WsssError
from wsss.review.edits import ClickAction
from wsss.review.record import ConflictError
from wsss.review.session import Session


def visit(
    session: Session, bound: socket.socket, names: Sequence[str], token: str | None = None
) -> None:
    """Look at every image, click on the first that opens, accept it; stands in for `serve`.

    What the page would show as a sentence beside one image ends nothing.
    """
    session.about()
    clicked = False
    for row in session.queue():
        try:
            item = session.item(row["id"])
            record = session.store.get(row["id"])
            session.mask(row["id"], record.actions)
            session.thumbnail(row["id"])
            if row["tags"] and not clicked:
                click = ClickAction(
                    kind="click", x=item["width"] / 2, y=item["height"] / 2, label=row["tags"][0]
                )
                actions = (*record.actions, click)
                kept = session.keep(row["id"], record.version, "visitor", actions)
                session.mask(row["id"], actions)
                session.decide(row["id"], kept.version, "visitor", actions, "accepted")
                clicked = True
        except WsssError:
            continue
        except ConflictError as error:
            raise AssertionError("nobody else is there") from error
    session.changes(0)
    session.close()
