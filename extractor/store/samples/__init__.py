"""Samples of a store for a DataLoader: read in blocks of neighbours, shuffled by shards, padded to batches.

`dataset` and `collating` are the only modules of the store that import torch.
"""
