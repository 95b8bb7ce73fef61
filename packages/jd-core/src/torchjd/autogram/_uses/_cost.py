"""What a computation costs: arithmetic, and traffic with the memory."""

# Measured on two CPU cores: a byte that misses the cache takes as long as some ten operations of a
# matrix product.
_OPERATIONS_A_BYTE = 12


def cost(operations: float, bytes_moved: float) -> float:
    """Return the cost of a computation, in units of one multiplication and addition.

    :param operations: How many of them it does.
    :param bytes_moved: How many bytes it reads from and writes to memory.
    """
    return operations + _OPERATIONS_A_BYTE * bytes_moved
