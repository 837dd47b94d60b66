"""The client of a store, embedded or remote: the same protocol either way.

`connection` finds or starts the process that serves a store, `submission` streams a plan to it and follows it,
`results` turns data into values, `store` is what `tm.open` returns, `handle` is work that goes on by itself. `queries`,
`details`, `failures` and `logs` are the questions that commands and notebooks ask, `planning` says what would run,
`debugging` runs one step alone, `garbage` deletes what nothing needs; `display` shows progress and `views` answers. May
import every room but `cli`, `ui` and `interop`.
"""
