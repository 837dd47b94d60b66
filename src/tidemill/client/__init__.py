"""The client of a store, embedded or remote: the same protocol either way.

`connection` finds or starts the process that serves a store, `submission` streams a plan to it and follows it,
`results` turns data into values, `store` is what `tm.open` returns, `queries` are the questions that commands and
notebooks ask, `display` shows progress. May import every room but `cli`, `ui` and `interop`.
"""
