"""What other programs read of our exports; much comes with them, so they are asked elsewhere.

PYTHONPATH=. python -m tests.wsss.formats.oracles.written /tmp/exports
python -m venv /tmp/others && /tmp/others/bin/pip install datumaro label-studio-sdk
/tmp/others/bin/python tests/wsss/formats/oracles/ask.py /tmp/exports
"""
