"""What both engines need of autograd: its nodes, and how gradients are stored."""
