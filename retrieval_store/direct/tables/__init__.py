"""Tables: results as data frames (`results`) and in notebooks (`html`), and records in pieces from
wherever they come (`sources`). pandas, polars and pyarrow are there if a user has them, and never
imported unless asked for. It may use `base` and `errors`.
"""
