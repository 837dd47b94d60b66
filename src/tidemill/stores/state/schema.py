"""The tables, and the numbered migrations that lead to them.

Rules of this schema, each measured: ids are integers; nothing is written per run in random order; no row says "running"
(a lease does) and none joins a run to its output (`run.out` and `datum.run` do); data rows are written when they end;
attempts and events are appended. A run costs what its rows cost, so every column here has a reader.
"""

from tidemill.model.errors import NewerStoreError, StoreError
from tidemill.stores.state.database import Database, Statement

VERSION = 3

_V1 = """
create table meta (name text primary key, value {int} not null) {norowid};

create table task (
  id {int} primary key, digest {blob} not null unique, name text not null, spec {blob} not null) {strict};

create table scope (id {int} primary key, name text not null unique) {strict};

create table hub (
  id {int} primary key, name text not null, weight {real} not null, active {int} not null, block {int}) {strict};

create table class (
  id {int} primary key, hub {int} not null, priority {int} not null, weight {real} not null,
  cpus {real} not null, memory {int} not null) {strict};
create index class_hub on class(hub);

create table block (
  id {int} primary key, parent {int}, root {int} not null, scope {int} not null, hub {int} not null,
  state {int} not null,
  generation {int} not null, previous {int}, owner {int}, name text not null, out {int},
  open {int} not null, done {int} not null, reused {int} not null, failed {int} not null, skipped {int} not null,
  cancelled {int} not null, total {int} not null,
  run_lo {int} not null, run_n {int} not null, out_lo {int} not null, out_n {int} not null,
  block_lo {int} not null, block_n {int} not null,
  flags {int} not null, cause {int}, t_open {real} not null, t_close {real}) {strict};
create index block_owner on block(owner) where owner is not null;
create index block_parent on block(parent) where parent is not null;
create index block_stopping on block(id) where state = 1;

create table delta (
  block {int} primary key, key {blob}, header {blob} not null, body {blob}, chunks {int} not null,
  sealed {int} not null,
  result {blob}, place text) {strict};
create index delta_key on delta(key) where key is not null;
create index delta_unsealed on delta(block) where sealed = 0 and key is null;

create table chunk (
  block {int} not null, seq {int} not null, digest {blob} not null, body {blob}, primary key (block, seq)) {norowid};

create table run (
  id {int} primary key, task {int} not null, block {int} not null, class {int} not null, state {int} not null,
  pending {int} not null, attempt {int} not null, tries {int} not null, losses {int} not null, flags {int} not null,
  cause {int}, out {int} not null, key {blob} not null, args {blob} not null) {strict};

create table datum (
  id {int} primary key, run {int}, port {int} not null, state {int} not null, kind {int} not null, size {int} not null,
  src {int}, cause {int}, digest {blob}, value {blob}) {strict};
create index datum_src on datum(src) where src is not null;

create table edge (run {int} not null, port {int} not null, datum {int} not null, primary key (run, port)) {norowid};
create index edge_to on edge(datum);

create table forward (
  datum {int} primary key, target {int} not null, run {int} not null, port {int} not null,
  open {int} not null) {strict};
create index forward_target on forward(target);

create table gather (
  id {int} primary key, block {int} not null, state {int} not null, members {int} not null, pending {int} not null,
  complete {int} not null, failed {int} not null, tolerate {int} not null, need {int} not null,
  one {int} not null) {strict};
create table member (
  gather {int} not null, seq {int} not null, level {int} not null, lo {int} not null, n {int} not null,
  step {int} not null,
  pending {int} not null, digest {blob}, primary key (gather, seq)) {norowid};
create index member_lo on member(level, lo) where pending > 0;
create index member_all on member(level, lo);

create table ready (class {int} not null, run {int} not null, primary key (class, run)) {norowid};
create table action (run {int} not null, class {int} not null, primary key (run, class)) {norowid};

create table lease (run {int} primary key, fence {int} not null, worker {int} not null, t {real} not null) {strict};

create table attempt (
  run {int} not null, n {int} not null, worker {int} not null, state {int} not null, t0 {real}, t1 {real}, cpu {real},
  rss {int}, primary key (run, n)) {norowid};
create table failure (
  run {int} not null, n {int} not null, reason {int} not null, body {blob} not null, primary key (run, n)) {norowid};
create table log (run {int} not null, n {int} not null, body {blob} not null, primary key (run, n)) {norowid};

create table memo (k {int} not null, run {int} not null, primary key (k, run)) {norowid};
create table follow (run {int} primary key, leader {int} not null) {strict};
create index follow_leader on follow(leader);

create table doom (datum {int} primary key, state {int} not null, cause {int} not null) {strict};
create table timer (at {real} not null, kind {int} not null, id {int} not null, primary key (at, kind, id)) {norowid};
create table lifetime (datum {int} primary key, kind {int} not null, block {int} not null) {strict};

create table content (datum {int} not null, digest {blob} not null, primary key (datum, digest)) {norowid};
create table literal (block {int} not null, digest {blob} not null, primary key (block, digest)) {norowid};

create table worker (
  id {int} primary key, parent {int}, state {int} not null, name text not null, host text not null, boot text not null,
  space text not null, pid {int} not null, start text not null, seen {real} not null,
  deadline {real} not null) {strict};
create index worker_parent on worker(parent) where parent is not null;

create table link (
  id {int} primary key, kind {int} not null, src {int} not null, dst {int} not null, who text not null,
  t {real} not null,
  retracted {real}) {strict};
create table told (key text primary key, t {real} not null, answer {blob} not null) {norowid};
create table supersede (kind {int} not null, old {int} not null, new {int} not null, primary key (kind, old)) {norowid};
"""

_V1_SQLITE = """
create table event (
  seq integer primary key, t real not null, engine integer not null, n integer not null, data blob not null) strict;
"""

_V1_POSTGRES = """
create table event (
  seq bigint generated always as identity primary key, t double precision not null, engine bigint not null,
  n bigint not null, data bytea not null);
create table block_delta (
  id bigint generated always as identity primary key, block bigint not null, open bigint not null, done bigint not null,
  reused bigint not null, failed bigint not null, skipped bigint not null, cancelled bigint not null,
  total bigint not null);
"""

_FIRST_ROWS = """
insert into scope(id, name) values (1, 'local-default-default');
insert into meta(name, value) values ('run', 0), ('datum', 0), ('block', 0), ('worker', 0), ('hub', 0), ('class', 0),
  ('memo', 0),
  ('shares', 0);
"""

_V2 = """
create table place (name text primary key, value text not null) {norowid};
"""

_NAMED = {
    "sqlite": "insert into place(name, value) values ('store', lower(hex(randomblob(16))));",
    "postgres": "insert into place(name, value) values ('store', replace(gen_random_uuid()::text, '-', ''));",
}
"""A new name for the store, that no other has."""

_V3_RESOURCES = """
alter table class add column disk {int} not null default 0;
alter table class add column walltime {real} not null default 0;
alter table class add column accelerators text not null default '';
alter table class add column preemptible {int} not null default 0;
alter table class add column local {int} not null default 0;
alter table class add column service {int} not null default 0;
alter table attempt add column disk {int};
"""
"""What else runs of a class ask for: bytes of disk, seconds, accelerators in words, whether they may be moved off a
machine, whether they stay with the engine. What an attempt had on its disk at most, in bytes."""

_V3_FILES = """
create table file (
  run {int} not null, fence {int} not null, n {int} not null, digest {blob} not null, size {int} not null,
  mode {int} not null, name text not null, temporary {int} not null, block {int} not null, state {int} not null,
  primary key (run, fence, n)) {norowid};
create index file_digest on file(digest);
create index file_block on file(block) where temporary = 1 and state = 2;
create index content_digest on content(digest);
create index literal_digest on literal(digest);
create index datum_object on datum(digest)
  where value is null and state = 2 and kind = 1 and src is null and size > 0;
create table folder (digest {blob} primary key) {norowid};
insert into folder select digest from content union select digest from literal;
create table journal (digest {blob} primary key, t {real} not null) {norowid};
create table used (run {int} not null, fence {int} not null, digest {blob} not null, source {int} not null,
  t {real} not null, place text not null, primary key (run, fence, digest, source)) {norowid};
create index used_source on used(source) where source > 0;
create table name (
  scope {int} not null, name text not null, version {int} not null, digest {blob}, size {int} not null,
  kind text not null, mode {int} not null, base text not null, run {int} not null, who text not null, t {real} not null,
  primary key (scope, name, version)) {norowid};
create index name_digest on name(digest);
"""
"""Files that attempts wrote to the store (state as of data), bytes that may be deleted once nothing else names them,
what attempts read beside their inputs, and named files by version (without digest where the name was given up). What
may be a directory stands in `folder`: its members are named by nothing but its manifest."""

_V3_SERVICES = """
create table serves (block {int} not null, run {int} not null, primary key (block, run)) {norowid};
create index serves_run on serves(run);
"""
"""Blocks at whose end a service ends."""

_V3_MESSAGES = """
create table message (
  id {int} primary key, root {int} not null, run {int} not null, fence {int} not null, t {real} not null,
  level {int} not null, stream text not null, text text not null) {strict};
create index message_root on message(root, id);
create table reader (name text not null, root {int} not null, seen {int} not null, primary key (name, root)) {norowid};
create table setting (name text primary key, value text not null) {norowid};
insert into meta(name, value) values ('message', 0), ('file', 0);
"""
"""What attempts told the workflow, up to where each reader has been told of it, and the store's own configuration."""

MIGRATIONS: dict[int, dict[str, str]] = {
    1: {"sqlite": _V1 + _V1_SQLITE + _FIRST_ROWS, "postgres": _V1 + _V1_POSTGRES + _FIRST_ROWS},
    2: {dialect: _V2 + named for dialect, named in _NAMED.items()},
    3: dict.fromkeys(("sqlite", "postgres"), _V3_RESOURCES + _V3_FILES + _V3_SERVICES + _V3_MESSAGES),
}
"""Version -> script per dialect. A migration is never edited after its release."""

_HAS_META = Statement(
    "select count(*) from sqlite_master where type = 'table' and name = 'meta'",
    "select count(*) from information_schema.tables where table_schema = current_schema() and table_name = 'meta'",
)
_LOCK = Statement("select 1", "select pg_advisory_xact_lock(7412)")
_VERSION = Statement("select value from meta where name = 'schema'")
_SET_VERSION = Statement(
    "insert into meta(name, value) values ('schema', ?) on conflict (name) do update set value = excluded.value"
)


def version(db: Database) -> int:
    """The schema version of the store, 0 when it has none yet."""
    found = db.one(_HAS_META)
    if not found or not found[0]:
        return 0
    row = db.one(_VERSION)
    return int(row[0]) if row else 0


def migrate(db: Database) -> None:
    """Bring the store to `VERSION`, one transaction a step; a new one in a single transaction, so that nobody sees one
    that is half made.

    Raises:
        NewerStoreError: if the store was written by a newer Tidemill.
    """
    check(db)
    while (current := version(db)) < VERSION:
        with db.transaction():
            db.rows(_LOCK)
            if version(db) != current:
                continue
            last = current + 1 if current else VERSION
            for step in range(current, last):
                db.script(MIGRATIONS[step + 1][db.dialect])
            db.run(_SET_VERSION, last)


def check(db: Database) -> int:
    """The store's version, refused if it is newer than this program's.

    Raises:
        NewerStoreError: naming both versions.
    """
    return refuse_newer(db, version(db))


def require_current(db: Database) -> None:
    """Refuse to look into a store that has not been brought to `VERSION` yet.

    Raises:
        StoreError: what to do about it.
    """
    found = version(db)
    if found < VERSION:
        raise StoreError(
            f"an older Tidemill has written the store {db.url}: its schema version is {found}, not {VERSION}",
            hint="The next `tidemill run` or `tidemill resume` with this store brings it up to date.",
        )


def refuse_newer(db: Database, found: int) -> int:
    """`found`, unless it is newer than this program's.

    Raises:
        NewerStoreError: naming both versions.
    """
    if found > VERSION:
        raise NewerStoreError(
            f"the store {db.url} has schema version {found}; this Tidemill reads versions up to {VERSION}",
            hint="upgrade Tidemill: pip install -U tidemill",
        )
    return found
