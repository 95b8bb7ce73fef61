"""The forms in which the gradients of all losses with respect to a parameter are held."""
