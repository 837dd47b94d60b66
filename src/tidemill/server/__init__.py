"""Serving a store: one process that owns the engine, the workers it started and the sessions of its clients.

`host` is the loop; `crew` starts and ends its local workers, `slots` are those as the engine sees them, `sessions` the
clients, `commands` what these ask for, `rounds` what one transaction is about, `progress` what displays are told.
`main` is the process, `takeover` what it does about engines that are gone, `lock` the operating system's lock that
makes it the only one of a directory, `addresses` where the parts of a store are. The HTTP interface will be a further
transport of the same sessions. May import every room but `client`, `cli` and `interop`.
"""
