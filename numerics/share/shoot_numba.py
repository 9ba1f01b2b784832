"""One trajectory of the reduced sampling flow, backwards, compiled with the flow.

The text of this file is compiled together with `rhs` of the reduced flow: states Y
and F, inputs the learned overlaps.
"""

from math import log

from numpy import empty

from ..codegen.elementary import exp
from ..codegen.stubs import STATES, called, optimised, rhs

LAST = 8  # steps below the switch, where the inputs are constant


@optimised
def stage_sum(k, weights, upto, x, h, y):
    """Fill y = x + h sum of weights[i] k[i]."""
    for i in range(STATES):
        total = 0.0
        for j in range(upto):
            total += weights[j] * k[j, i]
        y[i] = x[i] + h * total


@called
def shoot(end, field, x):
    """Follow Y = `end`, F = 0 at s = 1 back to s = 0 and leave the state in `x`.

    On each piece between two edges equal steps in log s, with the inputs of each stage
    in `table`; from the last edge on equal steps in s with the inputs `below`.
    """
    edges, table, below, steps, params, (a, b, c), (nodes, weights) = field
    stages = b.size
    k, y = empty((stages, STATES)), empty(STATES)
    x[:] = 0.0
    x[0] = end
    pieces = edges.size - 1
    for piece in range(pieces):
        depth = log(edges[piece + 1] / edges[piece])
        for i in range(steps):
            for j in range(stages):
                stage_sum(k, a[j], j, x, 1.0 / steps, y)
                s = edges[piece] * exp(depth * (i + c[j]) / steps)
                given = table[piece, i * stages + j]
                rhs(s, y, given, params, nodes, weights, k[j])
                for q in range(STATES):
                    k[j, q] *= s * depth
            stage_sum(k, b, stages, x, 1.0 / steps, x)
    switch = edges[pieces]
    for i in range(LAST):
        for j in range(stages):
            stage_sum(k, a[j], j, x, -switch / LAST, y)
            s = switch * (1.0 - (i + c[j]) / LAST)
            rhs(s, y, below, params, nodes, weights, k[j])
        stage_sum(k, b, stages, x, -switch / LAST, x)
    return 0.0
