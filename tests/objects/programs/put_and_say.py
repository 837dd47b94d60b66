"""Put small objects batch after batch and say so after each, for ever. Argument: the store's directory."""

import itertools
import os
import sys

from tidemill.stores.objects import open_objects
from tidemill.testing.objects_data import some_bytes

store = open_objects(sys.argv[1])
for batch in itertools.count():
    store.put_many([some_bytes(500, 10 * batch + number) for number in range(10)])
    os.write(1, b".")
