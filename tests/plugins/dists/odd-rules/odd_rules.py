"""Affine functions, each the same but for its name, and rules for them that are odd."""

import torch

from torchjd.plugins import hookimpl


class Affine(torch.autograd.Function):
    """``x @ weight.T + bias``."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight, grad.mT @ x, grad.sum(0)


def affine(call):
    """Return the right uses, for the odd rules to spoil."""
    from torchjd.autogram.rules import OuterProducts, Rows

    x = call.node.saved_tensors[0].to(call.dtype)
    B = call.per_sample()
    return {1: OuterProducts(x[:, None], B[:, :, None]), 2: Rows(B)}


def declines(call):
    return None


def too_few(call):
    return {2: affine(call)[2]}


def unknown(call):
    return affine(call) | {3: affine(call)[2]}


def misshapen(call):
    return affine(call) | {1: affine(call)[1].transpose()}


def no_use(call):
    return affine(call) | {2: call.per_sample()}


RULES = {
    "Affine": "affine",
    "Declines": "declines",
    "TooFew": "too_few",
    "Unknown": "unknown",
    "Misshapen": "misshapen",
    "NoUse": "no_use",
    "Missing": "no_such_rule",
    "Disputed": "affine",
    "NoRule": None,
}
FUNCTIONS = {name: type(name, (Affine,), {}) for name in RULES}


@hookimpl
def torchjd_gramian_rules():
    return {f"{name}Backward": f"odd_rules:{rule}" for name, rule in RULES.items() if rule}
