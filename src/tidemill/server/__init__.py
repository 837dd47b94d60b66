"""Serving a store: one process that owns the engine, the workers it started and the sessions of its clients.

`host` is the loop and the only place where transactions begin; `slots` are the local workers as the engine sees them, `sessions`
the clients, `progress` what displays are told, `lock` the operating system's lock that makes an engine of a directory the only one.
The HTTP interface will be a further transport of the same sessions. May import every room but `client`, `cli` and `interop`.
"""
