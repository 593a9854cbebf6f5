"""VOC folders as other tools write them: annotations, lists, class names."""

from pathlib import Path

import pytest
from PIL import Image

from wsss.data.images import Sample
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.formats.voc import read_class_names, read_split_list, read_voc
from wsss.formats.voc_xml import read_objects


@pytest.mark.parametrize(
    "text",
    [
        "<annotation><object><name>box</name></object></annotation>",
        "<Annotation><Object><Name>box</Name></Object></Annotation>",
        "<ANNOTATION><OBJECT><NAME> box\n</NAME></OBJECT></ANNOTATION>",
        '<?xml version="1.0"?><annotation xmlns="http://x"><object><name>box</name></object>'
        "</annotation>",
        '<a:annotation xmlns:a="urn:y"><a:object><a:name>box</a:name></a:object></a:annotation>',
        "<annotation><objects><object><name>box</name></object></objects></annotation>",
        '<?xml version="1.0" encoding="utf8mb4"?><annotation><object><name>box</name></object>'
        "</annotation>",
        "\n<annotation><object><part><name>head</name></part><name>box</name></object>"
        "<!-- <object/> --></annotation>",
        "<annotation><object><name>b\u200box</name></object></annotation>",
    ],
)
def test_read_objects_of_every_spelling(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    assert read_objects(tmp_path / "a.xml") == ("box",)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "gb2312", "cp1252", "shift_jis"]
)
def test_read_objects_of_every_encoding(tmp_path: Path, encoding: str) -> None:
    name = "猫" if encoding in ("gb2312", "shift_jis") else "Bär"
    declared = encoding.removesuffix("-sig")
    text = (
        f'<?xml version="1.0" encoding="{declared}"?>'
        f"<annotation><object><name>{name}</name></object></annotation>"
    )
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert read_objects(tmp_path / "a.xml") == (name,)


@pytest.mark.parametrize(
    "text",
    [
        "<annotation/>",
        "<annotation><owner><name>Ann</name></owner><objects/><object_count/></annotation>",
        "<annotation><filename>a.jpg</filename><segmented>0</segmented></annotation>",
    ],
)
def test_read_objects_of_an_image_without_any(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    assert read_objects(tmp_path / "a.xml") == ()


BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>'
)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (BOMB, "declares a document type"),
        (BOMB.encode("utf-16"), "declares a document type"),
        (f'<?xml version="1.0" encoding="utf8mb4"?>{BOMB}', "declares a document type"),
        ("<annotation><obj><name>box</name></obj></annotation>", "has <obj> but no object"),
        ("<annotation><item><bndbox>1</bndbox></item></annotation>", "has <item> but no object"),
        ("<annotation><objects><o>1</o></objects></annotation>", "has <objects> but no object"),
        ("<html><body/></html>", "has <html> but no object"),
        ("<annotation><object><Label>box</Label></object></annotation>", "without a name"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        ("<annotation><name>B\u00e4r</name>".encode("latin-1"), "is not UTF-8: line 1 has the"),
        (b'<?xml version="1.0" encoding="ascii"?><a>\xe4</a>', "is not in 'ascii', which it decl"),
        ("<annotation>" * 3, "does not parse"),
    ],
)
def test_read_objects_refuses_what_it_cannot_read(
    tmp_path: Path, data: str | bytes, sentence: str
) -> None:
    (tmp_path / "a.xml").write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(WsssError, match=sentence) as error:
        read_objects(tmp_path / "a.xml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("my photo p18\nmy photo p19\n", ("my photo p18", "my photo p19")),
        ("a.jpg\nb c.JPG\n", ("a", "b c")),
        ("2008_1 -1\n2008_2  1\n2008_3  0\n", ("2008_1", "2008_2", "2008_3")),
        ("photo 1\nphoto 2\n", ("photo 1", "photo 2")),
        ("photo 1\n", ("photo 1",)),
        ("/JPEGImages/a b.jpg /SegmentationClassAug/a b.png\n", ("a b",)),
        ("JPEGImages/a.jpg SegmentationClass/a.png\nJPEGImages/b.jpg,m/b.png\n", ("a", "b")),
        ("v1.2\n", ("v1.2",)),
        ("trip/a\n", ("trip/a",)),
    ],
)
def test_read_split_list_of_every_kind(tmp_path: Path, text: str, ids: tuple[str, ...]) -> None:
    (tmp_path / "l.txt").write_text(text)
    assert read_split_list(tmp_path / "l.txt") == ids


def test_read_split_list_as_windows_saves_it(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes("a\r\nb ä\r\n".encode("utf-16"))
    assert read_split_list(tmp_path / "l.txt") == ("a", "b ä")


@pytest.mark.parametrize("id_", ["../../etc/a", "a/../../b"])
def test_split_ids_lie_within_the_data_set(tiny_voc: Path, id_: str) -> None:
    (tiny_voc / "ImageSets" / "Segmentation" / "train.txt").write_text(f"{id_}\n")
    with pytest.raises(WsssError, match="lies outside the data set"):
        voc.split_ids(tiny_voc, "train")


def test_a_mask_is_not_the_image_of_an_id(tiny_voc: Path) -> None:
    folder = tiny_voc / "JPEGImages"
    (folder / "p2.jpg").rename(folder / "p2.WebP")
    Image.new("P", (4, 4)).save(folder / "p2.png")
    found = read_voc(tiny_voc, "train").samples
    assert found[1] == Sample("p2", folder / "p2.WebP", ())


def test_class_names_as_windows_saves_them(tmp_path: Path) -> None:
    (tmp_path / "class_names.txt").write_bytes("0 background\r\n1 Ba\u0308r\r\n".encode("utf-16"))
    assert read_class_names(tmp_path) == ("Bär",)
