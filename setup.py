"""What pyproject.toml cannot say: the description on the package index, made from README.md.

There, links and pictures that are relative to the repository lead nowhere: words of a link stay,
a picture goes with the caption below it. What is installed is the package, not a checkout.
"""

import re
from pathlib import Path

from setuptools import setup

RELATIVE = r"\((?!https?://|#)[^)]+\)"

text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
text = re.sub(rf"!\[[^\]]*\]{RELATIVE}\n\n\*[^*]+\*\n\n", "", text)
text = re.sub(rf"!\[[^\]]*\]{RELATIVE}\n*", "", text)
text = re.sub(rf"\[([^\]]+)\]{RELATIVE}", r"\1", text)
text = text.replace("pip install -e .", "pip install wsss")
setup(long_description=text, long_description_content_type="text/markdown")
