"""The rule for a layer of an LSTM that is one node of the graph, as on the CPU in float32."""

from collections.abc import Mapping

import torch
from torch import Tensor

from torchjd.autogram._layout import Layout
from torchjd.autogram._uses._outer import OuterProducts
from torchjd.autogram._uses._rows import Rows
from torchjd.autogram._uses._use import Use

from ._call import Call

# What the rule reads of the node, which a release of torch may rename.
_READS = (
    *("input", "hx_", "cx_", "result0", "result3", "weight0", "weight1", "weight2", "weight3"),
    *("mode", "reverse", "has_biases", "batch_sizes", "hidden_size"),
)
_LSTM = 2  # torch's number for this kind of recurrent layer
_INPUT, _WEIGHT_IH, _WEIGHT_HH, _BIAS_IH, _BIAS_HH, _HX, _CX = range(7)
# The dimension that runs over the sequences: in the output, and in the last states.
_DIMS = (1, 0, 0)
# How oneDNN pads the rows of its workspace, in numbers of 4 bytes.
_LINE, _CONFLICT = 16, 256
_SPOTS = 32  # how many steps of its activations are checked
_ROUNDING = 1e-5  # of activations, which are at most 1

_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


@torch.no_grad()
def mkldnn_lstm(call: Call) -> Mapping[int, Use] | None:
    r"""Return the uses that one direction of one layer of an LSTM makes of its parameters.

    Its gates are :math:`a_t = W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}`, and with their
    cotangents :math:`\delta_{kbt}` the gradients are :math:`\sum_t \delta_{kbt} x_{bt}^\top`,
    :math:`\sum_t \delta_{kbt} h_{b,t-1}^\top` and :math:`\sum_t \delta_{kbt}`. As the node saves
    all :math:`h_t`, one product gives back the gates where oneDNN's copy of them is not found.
    """
    samples = _samples(call)
    if samples is None or not _handles(call):
        return None
    x = _read(call, "input").transpose(0, 1).contiguous()
    states = _read(call, "result0").transpose(0, 1)
    h = _previous(states, _read(call, "hx_"), call.saved("reverse"))
    slopes, leak, carry = _derivatives(call, x, h)
    initial = _HX in call.wanted or _CX in call.wanted
    deltas, dh, dc = _through_time(call, slopes, leak, carry, initial)

    def by_sample(tensor: Tensor, lead: int = 0) -> Tensor:
        """From ``[..., sequences, t, d]`` to ``[..., batch, t of all its sequences, d]``."""
        front = samples.front(tensor, call.batch, lead)
        return front if front.ndim == lead + 3 else front.flatten(lead + 1, lead + 2)

    uses: dict[int, Use] = {}
    cotangents = by_sample(deltas, lead=1)
    if _WEIGHT_IH in call.wanted:
        uses[_WEIGHT_IH] = OuterProducts(by_sample(x), cotangents)
    if _WEIGHT_HH in call.wanted:
        uses[_WEIGHT_HH] = OuterProducts(by_sample(h), cotangents)
    if _BIAS_IH in call.wanted or _BIAS_HH in call.wanted:
        bias = cotangents.sum(2)
        uses.update({i: Rows(bias) for i in (_BIAS_IH, _BIAS_HH) if i in call.wanted})
    # Where initial states are made of parameters, each sequence moves the row of its own alone.
    for i, cotangent in ((_HX, dh), (_CX, dc)):
        if i in call.wanted:
            own = torch.eye(len(x), dtype=x.dtype, device=x.device).unsqueeze(1)
            states = by_sample(cotangent.unsqueeze(2), lead=1)
            uses[i] = OuterProducts(by_sample(own), states, transposed=True)
    return uses


def _samples(call: Call) -> Layout | None:
    """Return where the samples are among the sequences, or None if the outputs disagree."""
    found: set[Layout] = set()
    for cotangent, layout, dim in zip(call.cotangents, call.layouts, _DIMS, strict=False):
        if cotangent is None:
            continue
        if layout is None or layout.dim != dim or not layout.fits(cotangent, call.batch, lead=1):
            return None
        alone = cotangent.shape[dim + 1] == call.batch
        found.add(Layout(0, layout.inner and not alone))
    return found.pop() if len(found) == 1 else None


def _handles(call: Call) -> bool:
    """Whether the node is a plain LSTM, of which the parameters or initial states are wanted."""
    if _INPUT in call.wanted or max(call.wanted, default=0) > _CX:
        return False
    if not all(call.has(name) for name in _READS):
        return False
    if call.saved("mode") != _LSTM or call.saved("batch_sizes"):
        return False
    output, W, size = call.saved("result0"), call.saved("weight1"), call.saved("hidden_size")
    # In less precision, the gates of rounded hidden states are not those of the forward pass.
    precise = output.dtype == torch.float32
    return bool(precise and output.shape[2] == size and W.shape == (4 * size, size))


def _read(call: Call, name: str) -> Tensor:
    """Return a tensor that the node saved, in the dtype to compute in."""
    saved: Tensor = call.saved(name)
    return saved.to(call.dtype)


def _previous(states: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """Return the state before each step, given the one after each, ``[sequences, t, h]``."""
    first = initial.unsqueeze(1)
    return torch.cat([states[:, 1:], first] if reverse else [first, states[:, :-1]], dim=1)


def _activations(call: Call, x: Tensor, h: Tensor) -> Tensor:
    """Return :math:`i, f, g, o` of any steps ``[rows, 4, h]``, given what enters each."""
    w_ih, w_hh = _read(call, "weight0"), _read(call, "weight1")
    if call.saved("has_biases"):
        gates = torch.addmm(_read(call, "weight2") + _read(call, "weight3"), x, w_ih.T)
    else:
        gates = torch.mm(x, w_ih.T)
    gates = gates.addmm_(h, w_hh.T).view(-1, 4, h.shape[1])
    gates[:, :2].sigmoid_()
    gates[:, 2].tanh_()
    gates[:, 3].sigmoid_()
    return gates


def _kept_activations(call: Call, x: Tensor, h: Tensor) -> Tensor | None:
    """Return the activations ``[sequences, t, 4, h]`` from where oneDNN is known to keep them.

    Its workspace is its own affair, so they are compared with some that are computed here.
    """
    n, t, size = h.shape
    width = -(-4 * size // _LINE) * _LINE
    # oneDNN avoids rows a multiple of a kibibyte apart, which would share lines of the cache.
    width += _LINE * (width % _CONFLICT == 0)
    space, length = call.saved("result3"), n * t * width
    if call.dtype != torch.float32 or space.dtype != torch.uint8 or space.numel() < 4 * length:
        return None
    gates = space[: 4 * length].view(torch.float32).view(t, n, width)[..., : 4 * size]
    # Steps are in the order in which they were taken.
    gates = (gates.flip(0) if call.saved("reverse") else gates).unflatten(2, (4, size))
    some = torch.linspace(0, n * t - 1, min(n * t, _SPOTS), dtype=torch.float64).long()
    right = _activations(call, x.flatten(0, 1)[some], h.flatten(0, 1)[some])
    return gates.transpose(0, 1) if _same(gates[some % t, some // t], right) else None


def _same(found: Tensor, right: Tensor) -> bool:
    """Whether activations agree; not where either is NaN."""
    return bool((found - right).abs_().max() <= _ROUNDING)


def _cells(activations: Tensor, cx: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    r"""Return :math:`c_{t-1}` and :math:`\tanh(c_t)`, of shape ``[sequences, t, h]``."""
    i, f, g, _ = activations.unbind(2)
    n, t, size = i.shape
    cells = i.new_empty(n, t + 1, size)
    before, after = (cells[:, 1:], cells[:, :-1]) if reverse else (cells[:, :-1], cells[:, 1:])
    cells[:, t if reverse else 0] = cx
    for s in reversed(range(t)) if reverse else range(t):
        torch.mul(f[:, s], before[:, s], out=after[:, s]).addcmul_(i[:, s], g[:, s])
    return before, after.tanh()


def _derivatives(call: Call, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the derivatives of each step.

    A step is :math:`c_t = f c_{t-1} + i g`, :math:`h_t = o \tanh(c_t)`.

    :returns: The derivatives by what enters the activations, of :math:`c_t` for :math:`i, f, g` and
        of :math:`h_t` for :math:`o`, of shape ``[sequences, t, 4, h]``; of :math:`h_t` by
        :math:`c_t`; and of :math:`c_t` by :math:`c_{t-1}`.
    """
    cx, reverse = _read(call, "cx_"), call.saved("reverse")
    activations = _kept_activations(call, x, h)
    if activations is not None:
        before, squashed = _cells(activations, cx, reverse)
        # Some were compared; that all of them give the output is what tells of the others.
        if not _same(activations[:, :, 3] * squashed, call.saved("result0").transpose(0, 1)):
            activations = None
    if activations is None:
        n, t, size = h.shape
        activations = _activations(call, x.flatten(0, 1), h.flatten(0, 1)).view(n, t, 4, size)
        before, squashed = _cells(activations, cx, reverse)
    i, f, g, o = activations.unbind(2)
    slopes = torch.empty_like(activations, memory_format=torch.contiguous_format)
    by_i, by_f, by_g, by_o = slopes.unbind(2)
    _sigmoid_backward(g, i, grad_input=by_i)
    _sigmoid_backward(before, f, grad_input=by_f)
    _tanh_backward(i, g, grad_input=by_g)
    _sigmoid_backward(squashed, o, grad_input=by_o)
    leak: Tensor = _tanh_backward(o, squashed)
    return slopes, leak, f


def _through_time(
    call: Call, slopes: Tensor, leak: Tensor, carry: Tensor, initial: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cotangents of what enters the activations, and of the initial states.

    The first have shape ``[tasks, sequences, t, 4 h]``; those of the states
    ``[tasks, sequences, h]``, which are right only where ``initial``.
    """
    n, t, _, size = slopes.shape
    out, dh, dc = call.cotangents[:3]
    shape = (call.tasks, n, size)
    dh = slopes.new_zeros(shape) if dh is None else dh.to(slopes.dtype, copy=True).contiguous()
    dc = slopes.new_zeros(shape) if dc is None else dc.to(slopes.dtype, copy=True).contiguous()
    W = _read(call, "weight1")
    slopes = slopes.unsqueeze(0)
    # One task takes the room of the derivatives, each of which is needed once then.
    deltas = slopes if call.tasks == 1 else slopes.new_empty(call.tasks, n, t, 4, size)
    rows, dh_rows = deltas.view(-1, t, 4 * size), dh.view(-1, size)
    reverse = call.saved("reverse")
    for s in range(t) if reverse else reversed(range(t)):
        if out is not None:
            dh += out[:, s]
        dc.addcmul_(dh, leak[:, s])
        slope, delta = slopes[:, :, s], deltas[:, :, s]
        torch.mul(slope[:, :, :3], dc.unsqueeze(2), out=delta[:, :, :3])
        torch.mul(slope[:, :, 3], dh, out=delta[:, :, 3])
        dc *= carry[:, s]
        if initial or s != (t - 1 if reverse else 0):
            torch.mm(rows[:, s], W, out=dh_rows)
    return deltas.flatten(3), dh, dc
