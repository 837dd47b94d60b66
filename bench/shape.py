"""The graph that both sides of a comparison run."""


def other_parent(column: int, row: int, width: int) -> int:
    """The column in the row before of a run's second input; its first has the run's own column.

    After some ten rows, a run comes from all runs there were.
    """
    return (column + (1 << row % 10)) % width
