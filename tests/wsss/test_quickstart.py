"""The embedded default is a config of its own, on a data set that it can draw."""

from pathlib import Path

from wsss import quickstart
from wsss.data.synthetic import write_synthetic_voc
from wsss.formats import voc


def test_quickstart_config_fits_the_synthetic_images(tmp_path: Path) -> None:
    config = quickstart.config(tmp_path)
    assert config.run.parent == tmp_path and config.data.root is not None
    write_synthetic_voc(config.data.root, train=5, val=5, size=quickstart.SIZE)
    data = config.data
    for split in (data.train_split, data.mask_split, data.score_split, data.val_split):
        assert len(voc.split_ids(config.data.root, split)) == 5
    # a crop is a part of an image
    assert max(config.train_cls.crop, config.train_seg.crop) <= quickstart.SIZE
