"""What `code-from-data` must and must not report."""

import json
import pickle
from pickle import loads

import numpy as np


def bad(file, text):
    # ruleid: code-from-data
    pickle.load(file)
    # ruleid: code-from-data
    loads(text)
    # ruleid: code-from-data
    eval(text)
    # ruleid: code-from-data
    exec(compile(text, "rule", "exec"))
    # ruleid: code-from-data
    np.load(file, allow_pickle=True)


def good(file, text, frame):
    # ok: code-from-data
    json.loads(text)
    # ok: code-from-data
    pickle.dumps(text)
    # ok: code-from-data
    np.load(file)
    # ok: code-from-data
    frame.eval(text)
