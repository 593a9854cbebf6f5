"""Other programs read our exports exactly: their answers, about the same bytes that we write."""

import json
from pathlib import Path

from tests.wsss.formats.oracles.written import write

ANSWERS = json.loads((Path(__file__).parent / "oracles" / "answers.json").read_text())


def test_others_read_every_pixel_of_what_is_written_today(tmp_path: Path) -> None:
    digests = write(tmp_path)
    assert set(ANSWERS) == set(digests)
    for name, answer in ANSWERS.items():
        assert answer["wrong_pixels"] == 0
        if name != "voc":  # a PNG's bytes depend on the version of zlib
            assert answer["sha256"] == digests[name], "ask again: tests/wsss/formats/oracles"
