"""The engine: six transactions over the state store. It decides; it never runs user code and never imports `workers`.

`Engine` holds the connection and what is derived from the rows; a `Turn` is one transaction, with work lists that
`activate.settle` works off. What happens inside one lives in a module per concern.

* submit: `submit`, `grow` (growth at completion), `gathers` (collections), `reuse` and `keyindex`, `keys`.
* claim: `claim`, `stand` (where ready runs wait), `hubs`, `lease`.
* complete: `complete`, `retry` (failed and lost attempts), `spread` (ends without a value), `close` (blocks).
* reclaim: `reclaim`, with what the engine owes itself.
* control: `control` (cancel, stop), `hold`, `shares` (priorities and weights), `remove` (invalidate, delete), `expire`
  (lifetimes), `external`; `revive` (retry by hand) with `forget` and `reopen`; `rerun` and `restore` with `cone` (what
  follows) and `supersede` (the next generation).
"""
