"""The engine: six transactions over the state store. It decides; it never runs user code and never imports `workers`.

`Engine` holds the connection and what is derived from the rows; a `Turn` is one transaction. What happens inside one
lives in a module per concern: `submit`, `claim`, `complete`, `activate`, `reuse`, `gathers`, `spread` (ends without a
value), `close` (blocks), `grow`, `reclaim`, `control`.
"""
