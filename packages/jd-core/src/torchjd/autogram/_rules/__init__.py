"""Rules: from a kind of node to the gradients of each sample with respect to its parameters."""
