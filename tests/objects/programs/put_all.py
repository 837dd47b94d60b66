"""Put the same objects as other processes do at the same time, each in its own order. Arguments: directory, number."""

import sys

from tidemill.stores.objects import SMALL, open_objects
from tidemill.testing.objects_data import some_bytes

store = open_objects(sys.argv[1])
number = int(sys.argv[2])
items = [some_bytes(200, seed) for seed in range(300)] + [some_bytes(SMALL + 1, seed) for seed in range(30)]
items = items[number * 70 :] + items[: number * 70]
for first in range(0, len(items), 7):
    batch = items[first : first + 7]
    assert store.get_many(store.put_many(batch), verify=True) == batch
assert len(list(store.list())) >= len(items) - 1
