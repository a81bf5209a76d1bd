"""A collection in memory, as of one write.

In comes a transaction; out come a `state` (which points there are, who owns which vector), and the
step from one to the next. A state is data alone: what is worked out of it belongs to who keeps it,
and is handed to readers with it, in a view. `layers` keeps what is built for each row current, by
reading again what changed; `budget` bounds what all that is kept takes of memory; `saved` reads
what was saved of it, `array_files` are arrays that are mapped, and `state_files` those of the state
itself; `fetch` reads whole points.
It may use `storage` and `database`.
"""
