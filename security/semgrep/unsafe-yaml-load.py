"""What `unsafe-yaml-load` must and must not report."""

import yaml


def bad(text):
    # ruleid: unsafe-yaml-load
    yaml.load(text)
    # ruleid: unsafe-yaml-load
    yaml.load(text, Loader=yaml.Loader)
    # ruleid: unsafe-yaml-load
    yaml.unsafe_load(text)


def good(text):
    # ok: unsafe-yaml-load
    yaml.safe_load(text)
    # ok: unsafe-yaml-load
    yaml.load(text, Loader=yaml.SafeLoader)
