"""The convolution of one atom with its edges, forward and reverse, without writing messages.

In MACE's product of features and harmonics the harmonics have multiplicity 1, so Σ CG·Y is one
small matrix for each edge and path that all channels share. A row of the output (a path and a
component m_out) takes its few entries of that matrix, the sender's components they act on, and the
radial weight of the path; channels are the innermost loop throughout.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import kernel


@kernel
def hermite(t: float, w: Any) -> None:
    """Weights of the six knot data at fraction `t`: `w[0]` for the value, `w[1]` for its derivative by t."""
    t2 = t * t
    t3 = t2 * t
    t4 = t3 * t
    t5 = t4 * t
    w[0, 0] = 1.0 - 10.0 * t3 + 15.0 * t4 - 6.0 * t5
    w[0, 1] = t - 6.0 * t3 + 8.0 * t4 - 3.0 * t5
    w[0, 2] = 0.5 * t2 - 1.5 * t3 + 1.5 * t4 - 0.5 * t5
    w[0, 3] = 10.0 * t3 - 15.0 * t4 + 6.0 * t5
    w[0, 4] = -4.0 * t3 + 7.0 * t4 - 3.0 * t5
    w[0, 5] = 0.5 * t3 - t4 + 0.5 * t5
    w[1, 0] = -30.0 * t2 + 60.0 * t3 - 30.0 * t4
    w[1, 1] = 1.0 - 18.0 * t2 + 32.0 * t3 - 15.0 * t4
    w[1, 2] = t - 4.5 * t2 + 6.0 * t3 - 2.5 * t4
    w[1, 3] = 30.0 * t2 - 60.0 * t3 + 30.0 * t4
    w[1, 4] = -12.0 * t2 + 28.0 * t3 - 15.0 * t4
    w[1, 5] = 1.5 * t2 - 4.0 * t3 + 2.5 * t4


@kernel
def radial_value(table: Any, knot: int, w: Any, out: Any) -> None:
    """All radial weights of an edge, into `out` [n_paths, n_channels]."""
    k = 3 * knot
    w0, w1, w2, w3, w4, w5 = w[0, 0], w[0, 1], w[0, 2], w[0, 3], w[0, 4], w[0, 5]
    flat = out.reshape(-1)
    for i in range(table.shape[1]):
        flat[i] = (
            w0 * table[k, i]
            + w1 * table[k + 1, i]
            + w2 * table[k + 2, i]
            + w3 * table[k + 3, i]
            + w4 * table[k + 4, i]
            + w5 * table[k + 5, i]
        )


@kernel
def radial_value_and_slope(table: Any, knot: int, w: Any, value: Any, slope: Any) -> None:
    """All radial weights of an edge and their derivatives, the table read once."""
    k = 3 * knot
    w0, w1, w2, w3, w4, w5 = w[0, 0], w[0, 1], w[0, 2], w[0, 3], w[0, 4], w[0, 5]
    d0, d1, d2, d3, d4, d5 = w[1, 0], w[1, 1], w[1, 2], w[1, 3], w[1, 4], w[1, 5]
    flat_value = value.reshape(-1)
    flat_slope = slope.reshape(-1)
    for i in range(table.shape[1]):
        t0 = table[k, i]
        t1 = table[k + 1, i]
        t2 = table[k + 2, i]
        t3 = table[k + 3, i]
        t4 = table[k + 4, i]
        t5 = table[k + 5, i]
        flat_value[i] = w0 * t0 + w1 * t1 + w2 * t2 + w3 * t3 + w4 * t4 + w5 * t5
        flat_slope[i] = d0 * t0 + d1 * t1 + d2 * t2 + d3 * t3 + d4 * t4 + d5 * t5


@kernel
def edge_matrix(conv: Any, y: Any, edge: int, signs: Any, entries: Any) -> None:
    """Entries Σ CG·Y of an edge's matrices; `signs` turns the edge round where it is read backwards."""
    for i in range(len(entries)):
        total = 0.0
        for q in range(conv.entry_first[i], conv.entry_first[i + 1]):
            lm = conv.coupling_lm[q]
            total += conv.coupling[q] * signs[lm] * y[edge, lm]
        entries[i] = total


@kernel
def add_message(conv: Any, radial: Any, entries: Any, sender: Any, b: int, out: Any) -> None:
    """Add the message from atom `b` to `out` [n_rows, n_channels]."""
    n_channels = out.shape[1]
    for row in range(out.shape[0]):
        p = conv.row_path[row]
        i = conv.row_first[row]
        left = conv.row_first[row + 1] - i
        while left >= 3:
            e0, e1, e2 = entries[i], entries[i + 1], entries[i + 2]
            m0, m1, m2 = conv.entry_in[i], conv.entry_in[i + 1], conv.entry_in[i + 2]
            for c in range(n_channels):
                out[row, c] += radial[p, c] * (
                    e0 * sender[b, m0, c] + e1 * sender[b, m1, c] + e2 * sender[b, m2, c]
                )
            i += 3
            left -= 3
        if left == 2:
            e0, e1 = entries[i], entries[i + 1]
            m0, m1 = conv.entry_in[i], conv.entry_in[i + 1]
            for c in range(n_channels):
                out[row, c] += radial[p, c] * (e0 * sender[b, m0, c] + e1 * sender[b, m1, c])
        elif left == 1:
            e0 = entries[i]
            m0 = conv.entry_in[i]
            for c in range(n_channels):
                out[row, c] += radial[p, c] * (e0 * sender[b, m0, c])


@kernel
def reverse_message(
    conv: Any,
    value: Any,
    slope: Any,
    entries: Any,
    sender: Any,
    a: int,
    g_out: Any,
    b: int,
    scratch: Any,
    g_sender: Any,
    g_entries: Any,
) -> float:
    """Reverse the message that atom `a` sent to atom `b`.

    Args:
        conv: Rows and entries (`passes.Convolution`).
        value: [n_paths, n_channels], radial weights of the edge.
        slope: [n_paths, n_channels], their derivatives by r.
        entries: [n_entries], the edge's matrix for the direction a to b.
        sender: [n_atoms, n_in, n_channels].
        a: The sender.
        g_out: [n_atoms, n_rows, n_channels], gradient by the messages received.
        b: The receiver.
        scratch: [n_channels].
        g_sender: [n_in, n_channels], added to.
        g_entries: [n_entries], overwritten.

    Returns:
        Gradient by the distance.
    """
    n_channels = g_sender.shape[1]
    by_distance = 0.0
    for row in range(g_out.shape[1]):
        p = conv.row_path[row]
        for c in range(n_channels):
            scratch[c] = value[p, c] * g_out[b, row, c]
        for i in range(conv.row_first[row], conv.row_first[row + 1]):
            e0 = entries[i]
            m0 = conv.entry_in[i]
            by_entry = scratch.dtype.type(0)
            by_slope = scratch.dtype.type(0)
            for c in range(n_channels):
                u = sender[a, m0, c]
                g_sender[m0, c] += e0 * scratch[c]
                by_entry += scratch[c] * u
                by_slope += slope[p, c] * g_out[b, row, c] * u
            g_entries[i] = by_entry
            by_distance += e0 * by_slope
    return by_distance


@kernel
def add_scalar_message(conv: Any, radial: Any, entries: Any, sender: Any, b: int, out: Any) -> None:
    """`add_message` where senders have scalars only, so that a path needs one product for all m."""
    n_channels = out.shape[1]
    for p in range(radial.shape[0]):
        for c in range(n_channels):
            radial[p, c] *= sender[b, 0, c]
    for row in range(out.shape[0]):
        p = conv.row_path[row]
        e0 = entries[row]
        for c in range(n_channels):
            out[row, c] += e0 * radial[p, c]


@kernel
def reverse_scalar_message(
    conv: Any,
    value: Any,
    slope: Any,
    entries: Any,
    sender: Any,
    a: int,
    g_out: Any,
    b: int,
    scratch: Any,
    g_sender: Any,
    g_entries: Any,
) -> float:
    """`reverse_message` where senders have scalars only."""
    n_channels = g_sender.shape[1]
    by_distance = 0.0
    row = 0
    while row < g_out.shape[1]:
        p = conv.row_path[row]
        for c in range(n_channels):
            scratch[c] = 0
        for each in range(row, g_out.shape[1]):
            if conv.row_path[each] != p:
                break
            e0 = entries[each]
            by_entry = scratch.dtype.type(0)
            for c in range(n_channels):
                g = g_out[b, each, c]
                scratch[c] += e0 * g
                by_entry += value[p, c] * sender[a, 0, c] * g
            g_entries[each] = by_entry
            row += 1
        by_slope = scratch.dtype.type(0)
        for c in range(n_channels):
            g_sender[0, c] += value[p, c] * scratch[c]
            by_slope += slope[p, c] * sender[a, 0, c] * scratch[c]
        by_distance += by_slope
    return by_distance
