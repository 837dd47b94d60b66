"""The state store: one transaction object over nouns, on SQLite and on PostgreSQL.

`schema` holds the tables and their numbered migrations; each noun (`runs`, `data`, `blocks`, …) holds the statements
about its own table; `sqlite` and `postgres` are the two databases behind `database.Database`. No SQL exists outside
this package, and no decision is made in it: what a statement may change is bounded by the transition tables of
    `model.states`.
"""
