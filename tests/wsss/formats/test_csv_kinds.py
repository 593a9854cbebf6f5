"""Tables as spreadsheets, pandas and Kaggle write them: read, or refused by row and cell."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from wsss.errors import WsssError
from wsss.formats.own_images import read_folder
from wsss.formats.tag_cell import looks_separated_by_blanks, split_blanks, split_cell
from wsss.formats.text import clean, excerpt

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d #1/e=~2.JPG")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "images"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    return root


def read(folder: Path, data: str | bytes, names: list[str] | None = None) -> dict[str, set[str]]:
    path = folder.parent / "tags.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    found = read_folder(folder, path, names)
    return {p.id: {found.class_names[t] for t in p.tags} for p in found.samples}


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("['cat', 'dog']", ("cat", "dog")),
        ("#cat #dog", ("cat", "dog")),
        ("#cat", ("cat",)),
        ("item #1", ("item #1",)),
        ("type 2", ("type 2",)),
        ('["cat"]', ("cat",)),
        ('["\\u00c4rger", "cat"]', ("Ärger", "cat")),
        ("{cat, dog}", ("cat", "dog")),
        ("{'cat', 'dog'}", ("cat", "dog")),
        ("('cat',)", ("cat",)),
        ("[cat; dog]", ("cat", "dog")),
        ("['cat' 'dog']", ("cat", "dog")),  # as NumPy prints it
        ("['hot dog', nan]", ("hot dog",)),
        ("['bird\\'s nest']", ("bird's nest",)),
        ('["bird\'s nest", "a, b"]', ("bird's nest", "a, b")),
        ("'cat', 'dog'", ("cat", "dog")),
        ("cat\ndog\r\n cow", ("cat", "dog", "cow")),
        ("cat\tdog|cow;", ("cat", "dog", "cow")),
        ("猫，狗", ("猫", "狗")),
        ("cat (black)", ("cat (black)",)),
        ("(cat) and (dog)", ("(cat) and (dog)",)),
        ("cat\u200b;\ufeffcat; ca\u00adt", ("cat",)),
        ("traffic\u00a0 light", ("traffic light",)),
        (unicodedata.normalize("NFD", "Bär"), ("Bär",)),
        ("cat;;nan", ("cat",)),
    ],
)
def test_split_cell_reads_what_is_unambiguous(cell: str, tags: tuple[str, ...]) -> None:
    assert split_cell(cell) == tags


@pytest.mark.parametrize(
    "cell",
    [
        *("", "  ", "none", "None", "NaN", "nan", "-", "—", "null", "n/a", "N/A", "[]", "{}"),
        *("[nan]", "\u200b", "#N/A", "n.a.", "<NA>", "set()", "['nan']"),
    ],
)
def test_split_cell_of_no_tag(cell: str) -> None:
    assert split_cell(cell) == ()


def test_split_cell_takes_a_class_of_that_name() -> None:
    assert split_cell("none", ["none", "cat"]) == ("none",)
    assert split_cell("a, b", ["a, b"]) == ("a, b",)


@pytest.mark.parametrize(
    "cell", ["['cat'", "cat]", "['cat', dog]", '{"cat": 1}', "[['cat'], ['dog']]", 'Index(["a"])']
)
def test_split_cell_refuses_what_is_not(cell: str) -> None:
    with pytest.raises(ValueError, match=r"tag holds|elements are quoted"):
        split_cell(cell)


@pytest.mark.parametrize(
    "table",
    [
        "image,tags\na.jpg,\"['cat', 'dog']\"\nb.jpg,\"['cat']\"\n",
        "image,tags\na.jpg,['cat', 'dog']\nb.jpg,['cat']\n",
        'image,tags\na.jpg,"cat\ndog"\nb.jpg,cat\n',
        'image,tags\na.jpg, "cat,dog"\nb.jpg, cat\n',
        "image;tags\r\na.jpg;cat, dog\r\nb.jpg;cat\r\n",
        "sep=;\nimage;tags\na.jpg;cat, dog\nb.jpg;cat\n",
        "image\ttags\na.jpg\tcat;dog\nb.jpg\tcat\n",
        "image|tags\na.jpg|cat;dog\nb.jpg|cat\n",
        "image,tags\ra.jpg,cat;dog\rb.jpg,cat\r",
        ",image,tags\n0,a.jpg,cat;dog\n1,b.jpg,cat\n",
        "Unnamed: 0,filename,label\n0,a.jpg,cat\n1,a.jpg,dog\n2,b.jpg,cat\n",
        "Image_ID,Labels,width\na,cat dog,640\nb,cat,640\nb,cat,640\na,dog,1\n",
        "path,class,xmin,ymin\nimages/a.jpg,cat,0,0\nimages/a.jpg,dog,1,1\nb.jpg,cat,0,0\n",
        "file,tags,,\na.jpg,cat;dog,,\nb.jpg,cat,,\n",
        "a.jpg,cat;dog\nb.jpg,cat\n",
        "0,a.jpg,cat;dog\n1,b.jpg,cat\n",
        '"a.jpg";"cat,dog"\n"b.jpg";"cat"\n',
        "id,cat,dog\na,1,1\nb,1,0\n",
        "filename,cat,dog\na.jpg,1.0,True\nb.jpg,1,\n",
        ",image_id,cat,dog\n0,a.jpg,1,1\n1,b.jpg,1,-1\n",
        "image,tags\na.jpg,cat dog\nb.jpg,cat\nb.jpg,nan\na.jpg,dog\n",
        "image,tags\nA.JPG,cat;dog\nB,cat\n",
        "image,tags\n\u200ba.jpg,cat;dog\nb.jpg\u00a0,cat\n",
    ],
)
def test_read_folder_of_every_kind_of_table(folder: Path, table: str) -> None:
    expected = {"a": {"cat", "dog"}, "b": {"cat"}}
    assert read(folder, table) == expected
    if not table.startswith(("id,", "filename,cat", ",image_id")):
        assert read(folder, table, ["dog", "cat"]) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_read_folder_of_every_encoding_with_a_mark(folder: Path, encoding: str) -> None:
    table = "image,tags\na.jpg,Bär\n"
    assert read(folder, table.encode(encoding)) == {"a": {"Bär"}}


def test_read_folder_of_an_encoding_that_cannot_be_told(folder: Path) -> None:
    with pytest.raises(WsssError, match=r"is not UTF-8: line 3 has the byte 0xe4; .*CSV UTF-8"):
        read(folder, "image,tags\na.jpg,cat\nb.jpg,Bär\n".encode("latin-1"))


@pytest.mark.parametrize("cell", ["none", "nan", "-", "N/A", "", "[]"])
def test_read_folder_of_images_without_a_tag(folder: Path, cell: str) -> None:
    assert read(folder, f"image,tags\na.jpg,cat\nb.jpg,{cell}\n") == {"a": {"cat"}, "b": set()}


def test_read_folder_takes_twins_of_one_name_for_one(folder: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Bär")
    found = read(folder, f"image,tags\na.jpg,Bär\nb.jpg,{decomposed}\nc.jpg,B\u200bär\n")
    assert found == {"a": {"Bär"}, "b": {"Bär"}, "c": {"Bär"}}
    assert read(folder, f"image,tags\na.jpg,{decomposed}\n", [decomposed]) == {"a": {"Bär"}}


def test_read_folder_of_a_path_with_marks(folder: Path) -> None:
    assert read(folder, "image,tags\nd #1/e=~2.JPG,cat\n") == {"d #1/e=~2": {"cat"}}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("image,tags\na.jpg,cat\nb.jpg,\"['cat'\"\n", r"^Line 3 of .*has \"\['cat'\" in the colum"),
        ('image,tags\na.jpg,"cat\nb.jpg,dog\n', r"^Line 2 of .* is no CSV \(unexpected end"),
        ('image,tags\na.jpg,"cat"dog\n', r"^Line 2 of .* is no CSV"),
        ("image,image,tags\na.jpg,b.jpg,cat\n", r"has the columns image and image"),
        ("image,label,class\na.jpg,cat,1\n", "has the columns label and class, either of which"),
        ("file,path,tags\na.jpg,b.jpg,cat\n", "has the columns file and path"),
        ("id,cat,width\na,1,640\n", r"^Line 2 of .* has '640' in the column 'width'"),
        ("id,cat,dog\na,1,0\nb,0,0.7\n", r"^Line 3 of .* has '0\.7' in the column 'dog'"),
        ("id,cat,dog\na,1,0\nb,0,-1\n", r"^Line 3 of .* has '-1' in the column 'dog'"),
        ("image,etikett\na.jpg,cat\n", "has 'cat' in the column 'etikett'; expected a column `tag"),
        ("image,label\na,0\nb,1\n", "The column label of .* holds 0 and 1 alone"),
        ("image,tags\na,cat dog\nb,dog cat\n", "has 'cat dog', which may be one tag or several"),
        (
            "image,tags\na,clear water\nb,clear primary\nc,water primary\na,clear water primary\n",
            r"^Line 2 of .* has 'clear water', which may be",
        ),
        ("image,tags\na,cat;dog\nb,cat dog\n", "^Line 3 of .* has 'cat dog', which may be"),
    ],
)
def test_read_folder_refuses_what_is_ambiguous(folder: Path, table: str, sentence: str) -> None:
    with pytest.raises(WsssError, match=sentence):
        read(folder, table)


def test_a_sentence_never_echoes_a_long_cell(folder: Path) -> None:
    for table in (f"image,tags\na.jpg,{'x' * 46_000}]\n", f"{'y' * 46_000}\n", "image,tags\na"):
        with pytest.raises(WsssError) as error:
            read(folder, table)
        assert len(str(error.value)) < 500 + len(str(folder))


def test_tags_separated_by_blanks() -> None:
    words = {"cat", "dog", "cow"}
    assert split_blanks("cat dog", words) == ("cat", "dog")
    assert split_blanks("hot dog", words) == ("hot dog",)
    assert split_blanks("cat dog", words, ["cat dog", "cat", "dog"]) == ("cat dog",)
    assert split_blanks("cat cat", words) == ("cat",)
    assert not looks_separated_by_blanks(["baseball bat", "baseball glove", "dog", "hot dog"])
    assert looks_separated_by_blanks(["a b", "a c", "b c", "a b c"])


def test_clean_keeps_joiners_inside() -> None:
    assert clean("👩\u200d🚀") == "👩\u200d🚀" and clean("\u200dcat\u200c") == "cat"


def test_excerpt_is_one_short_line() -> None:
    assert excerpt("a\nb") == r"'a\nb'" and len(excerpt("x" * 500)) <= 62


def test_a_mask_beside_its_photo_does_not_make_its_name_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a.jpg")
    Image.new("P", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "tags.csv").write_text("image,tags\na,cat\n")
    (sample,) = read_folder(tmp_path / "images", tmp_path / "tags.csv").samples
    assert sample.path.name == "a.jpg"


def test_images_in_a_linked_folder(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "more").symlink_to(folder)
    (tmp_path / "tags.csv").write_text("image,tags\nmore/a.jpg,cat\n")
    (sample,) = read_folder(tmp_path / "images", tmp_path / "tags.csv").samples
    assert sample.id == "more/a"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("image_id,label,confidence\na,cat,1\na,dog,0\n", "Line 3 .* column confidence, .*'dog'"),
        ("image,tags,present\na,cat,True\nb,cat,False\n", "Line 3 .* column present"),
        ("image,label,label_2\na,cat,dog\n", "columns label and label_2; expected all tags"),
        ("image,tag.1,tag\na,cat,dog\n", "columns tag and tag_1"),
        ("image;tags;score\na;cat;0,9\nb;dog;0,1\n", "Line 3 .*'0,1' in the column score"),
        ("image,tags\na,no cat\nb,cat\n", "Line 2 .*'no cat', and 'cat' is a tag"),
        ("image,tags\na,cat\nb,dog\nc,cat/dog\n", "Line 4 .*'cat/dog', whose parts are tags"),
        ("image,tags\na,cat\nb,dog\nc,cat • dog\n", "'cat • dog', whose parts"),
        ("image,tags\na,cat\nb,dog\nc,cat -> dog\n", "'cat -> dog', whose parts"),
        ("image,tags\na,cat\nb,dog\nc,cat\\ndog\n", "whose parts"),
        ("image,tags\na,cat\nb,dog\nc,cat und dog\n", "'cat und dog', whose parts"),
        ("image,tags\na,cat\nb,#REF!\n", "Line 3 .*'#REF!'.*formula failed"),
        ("image,tags\na,cat\nb,dog\nc,Cat and dog\n".replace("Cat", "cat"), "'cat and dog'"),
    ],
)
def test_tags_that_an_image_lacks_or_that_stand_elsewhere_are_refused(
    folder: Path, table: str, says: str
) -> None:
    with pytest.raises(WsssError, match=says):
        read(folder, table)


def test_a_tag_with_a_slash_is_one_where_its_parts_are_none(folder: Path) -> None:
    found = read(folder, "image,tags,confidence\na,and/or,0.9\nb,black and white,1\n")
    assert found == {"a": {"and/or"}, "b": {"black and white"}}


@pytest.mark.parametrize("cell", ["cat: 2, dog: 1", "cat=0.9", "cat (2)", "-dog", "cat; !dog"])
def test_split_cell_refuses_counts_and_denials(cell: str) -> None:
    with pytest.raises(ValueError, match=r"a number stands beside|a tag starts with"):
        split_cell(cell)
    assert split_cell(cell, [cell]) == (cell,)
