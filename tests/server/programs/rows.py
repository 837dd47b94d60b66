"""One workflow after the other, each as soon as the one before has ended. Arguments: the store, how many, a number."""

import sys

import tidemill as tm


@tm.task
def add(a: int, b: int) -> int:
    return a + b


if __name__ == "__main__":
    url, count, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for i in range(count):
        assert tm.open(url).run(add(i, own), workers=1, progress=False) == i + own
    sys.stdout.write("done\n")
