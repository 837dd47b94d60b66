"""Where the objects of a store are: settled when it is first served, and known to everybody from then on."""

import contextlib
import os
import socket

from tidemill.model.errors import ConfigError
from tidemill.server.addresses import Place
from tidemill.stores.objects import USERS, open_objects, same_place
from tidemill.stores.state import data
from tidemill.stores.state import place as places
from tidemill.stores.state.database import Database
from tidemill.stores.state.open import shown


def known(db: Database, place: Place) -> str:
    """The address at which the objects of a store are, for those who only read.

    Raises:
        ConfigError: another one was asked for.
    """
    recorded = places.read(db).objects
    if recorded is None:
        return place.objects or place.inside
    return agreed(place.state, recorded or place.inside, place.objects)


def agreed(state: str, there: str, wanted: str) -> str:
    """The address at which a store's objects are, as it was asked for, if it was.

    Args:
        state: address of the store.
        there: where the objects are.
        wanted: where somebody thinks that they are, or "".

    Raises:
        ConfigError: the two are different places.
    """
    if not wanted or same_place(wanted, there):
        return wanted or there
    raise ConfigError(
        f"the objects of the store {shown(state)} are in {there}, not in {wanted}",
        hint="leave out objects (the store knows where they are), or use a new store for another place",
    )


def settle(db: Database, place: Place) -> str:
    """Record where the objects of a store are, the first time that it is served; the address. Part of a transaction.

    Raises:
        ConfigError: another place was asked for than is recorded, or than the objects that are there are in.
    """
    recorded = places.read(db).objects
    if recorded is None:
        recorded = places.settle(db, chosen(db, place))
    found = agreed(place.state, recorded or place.inside, place.objects)
    if recorded and found != recorded:
        places.change(db, found)
    return found


def announce(db: Database, place: Place) -> None:
    """Say in a place that others could use too that this store keeps objects there, before it does: nobody else must
    collect them. In the directory of a SQLite store that goes without saying.

    Raises:
        ConfigError: as for `settle`.
        TidemillError: the place cannot be written.
    """
    store, recorded = places.read(db)
    if recorded is None:
        where = chosen(db, place)
    elif recorded or place.alone:
        return
    else:
        where = ""
    if where or not (place.alone or os.path.exists(os.path.join(place.inside, USERS, store))):
        with contextlib.closing(open_objects(where or place.inside)) as objects:
            objects.add_user(store, f"{shown(place.state)}, used from {socket.gethostname()}")


def chosen(db: Database, place: Place) -> str:
    """Where to put the objects of a store that has nothing recorded: "" for the default place.

    Raises:
        ConfigError: it has objects, from before places were recorded, and they are elsewhere.
    """
    wanted = "" if place.objects and same_place(place.objects, place.inside) else place.objects
    here = _holds(place.inside)
    if wanted and here and data.any_object(db):
        agreed(place.state, place.inside, wanted)
    if not wanted and not here and data.any_object(db):
        raise ConfigError(
            f"the store {shown(place.state)} has objects, and they are not in {place.inside}",
            hint="say once where they are: objects=… (or --objects); it is recorded then",
        )
    return wanted


def _holds(directory: str) -> bool:
    try:
        return bool(os.listdir(directory))
    except OSError:
        return False
