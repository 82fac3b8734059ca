from __future__ import annotations


def read_checkpoint(*a):
    raise SystemExit


def restore(*a, **k):
    raise SystemExit
