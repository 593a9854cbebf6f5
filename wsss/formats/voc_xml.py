"""VOC's annotations, as tools of many kinds write them: an XML → the names of its objects."""

import codecs
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from wsss.errors import WsssError, first_line
from wsss.formats.text import clean, decode, excerpt

_DECLARATION = re.compile(r"\s*<\?xml[^>]*?\?>", re.IGNORECASE)
_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([^"']+)["']""", re.IGNORECASE)

# what other tools call an object, or an object has: an XML with one of these isn't empty
_MENTIONS = ("obj", "item", "bndbox", "bbox", "box", "rect", "polygon", "instance", "label")


def read_objects(path: Path) -> tuple[str, ...]:
    """Names of the objects in an XML, as often as they occur (names of body parts are not read).

    Elements are found in any depth, in any capitals and in any name space.

    Raises:
        WsssError: the file is missing, does not parse, holds a document type, or mentions an object
            that is none, or has no name.
    """
    root = _parse(path)
    objects = [element for element in _elements(root) if _name(element) == "object"]
    names = tuple(clean(_text_of(element, "name")) for element in objects)
    if "" in names:
        raise WsssError(
            f"The annotation {path} has an object without a name; expected <name> in every object."
        )
    mentioned = None if objects else _mention(root)
    if mentioned is not None:
        raise WsssError(
            f"The annotation {path} has <{mentioned[:40]}> but no object; expected <object> with "
            "<name> for every object, as VOC has them: convert it."
        )
    return names


def _parse(path: Path) -> ET.Element:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise WsssError(
            f"The annotation {path} does not exist; expected an XML with the image's objects."
        ) from None
    except OSError as error:
        raise WsssError(
            f"The annotation {path} does not parse ({error.strerror}); expected XML: check it."
        ) from error
    text = _DECLARATION.sub("", _decode(data, path), count=1)
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise WsssError(
            f"The annotation {path} declares a document type; expected plain XML without <!DOCTYPE "
            "or entities, which may expand without end: remove the declaration."
        )
    try:
        return ET.fromstring(text)
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise WsssError(
            f"The annotation {path} does not parse ({first_line(error)}); expected XML: copy it "
            "again."
        ) from error


def _decode(data: bytes, path: Path) -> str:
    """The text of an XML by its declared encoding; as UTF-8 where Python doesn't know that."""
    declared = _ENCODING.search(data[:200])
    name = declared[1].decode("ascii", "replace") if declared else "utf-8"
    try:
        if codecs.lookup(name).name not in ("utf-8", "utf-16", "utf-32"):
            return data.decode(name)
    except LookupError:
        pass  # an encoding that doesn't exist
    except (UnicodeDecodeError, ValueError):
        raise WsssError(
            f"The annotation {path} is not in {excerpt(name, 30)}, which it declares; expected "
            "that encoding, or UTF-8: save it again."
        ) from None
    return decode(data, f"The annotation {path}").lstrip("\ufeff")


def _elements(root: ET.Element) -> Iterator[ET.Element]:
    return (element for element in root.iter() if isinstance(element.tag, str))


def _name(element: ET.Element) -> str:
    """An element's name without its name space, in small letters."""
    return element.tag.rpartition("}")[2].rpartition(":")[2].strip().casefold()


def _text_of(element: ET.Element, child: str) -> str:
    for found in element:
        if isinstance(found.tag, str) and _name(found) == child:
            return found.text or ""
    return ""


def _mention(root: ET.Element) -> str | None:
    """The first element that speaks of an object; VOC's own empty ones do not."""
    if _name(root) != "annotation":
        return root.tag.rpartition("}")[2]
    for element in _elements(root):
        name = _name(element)
        filled = len(element) > 0 or bool((element.text or "").strip())
        if filled and (name in _MENTIONS or "object" in name or name.startswith("obj")):
            return element.tag.rpartition("}")[2]
    return None
