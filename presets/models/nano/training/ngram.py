"""Interpolated Kneser-Ney n-gram model over token ids (Chen and Goodman 1998, section 2.7), in numpy.

The baseline that a neural model has to beat. An n-gram is known by (id of its first n-1 tokens, last token), so that any
order fits into 64 bits. Lower orders count distinct left neighbours instead of occurrences; each order has one discount,
n1 / (n1 + 2 n2); below the unigrams lies the uniform distribution.
"""
import numpy as np


class Order:
    """All n-grams of one order: sorted keys, their (continuation) counts, and sums by context."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray, contexts: np.ndarray, n_contexts: int):
        self.keys, self.counts = keys, counts
        n1, n2 = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
        self.discount = n1 / max(1, n1 + 2 * n2)
        self.totals = np.bincount(contexts, weights=counts, minlength=n_contexts)
        self.kinds = np.bincount(contexts, minlength=n_contexts)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Index of each key, -1 where it was never seen."""
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


class KneserNey:
    def __init__(self, tokens: np.ndarray, order: int, vocab: int):
        tokens = tokens.astype(np.int64)
        self.order, self.vocab, self.orders = order, vocab, []
        ids, n_contexts = np.zeros(len(tokens), dtype=np.int64), 1  # order 0: one empty context
        tables, previous = [], None
        for n in range(1, order + 1):
            context = np.concatenate([[0], ids[:-1]]) if n > 1 else np.zeros(len(tokens), dtype=np.int64)
            keys, first, ids_n, counts = np.unique(context * vocab + tokens, return_index=True, return_inverse=True,
                                                   return_counts=True)
            tables.append((keys, counts, context[first], n_contexts))
            if n > 1:
                # Each distinct n-gram is one distinct left neighbour of its last n-1 tokens.
                before = tables[n - 2]
                left = np.bincount(ids[first], minlength=len(before[0]))
                self.orders.append(Order(before[0], left, before[2], before[3]))
            ids, n_contexts = ids_n, len(keys)
        self.orders.append(Order(*tables[-1]))

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Natural logarithm of every token's probability after up to order-1 tokens before it."""
        tokens = tokens.astype(np.int64)
        p = np.full(len(tokens), 1.0 / self.vocab)
        ids = np.zeros(len(tokens), dtype=np.int64)
        for n, table in enumerate(self.orders, 1):
            context = np.concatenate([[-1], ids[:-1]]) if n > 1 else np.zeros(len(tokens), dtype=np.int64)
            known = context >= 0
            at = table.find(np.where(known, context, 0) * self.vocab + tokens)
            at = np.where(known, at, -1)
            total = np.where(known, table.totals[np.where(known, context, 0)], 0.0)
            seen = np.where(at >= 0, np.maximum(table.counts[np.maximum(at, 0)] - table.discount, 0.0), 0.0)
            rest = table.discount * table.kinds[np.where(known, context, 0)]
            p = np.where(total > 0, (seen + rest * p) / np.maximum(total, 1), p)
            ids = at
        return np.log(p)
