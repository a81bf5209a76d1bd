"""Tables: results as data frames (`results`) and in notebooks (`html`), records in pieces from
wherever they come (`sources`), metadata as columns (`expanding`), and collections as maps (`maps`).
pandas, polars and pyarrow are there if a user has them, and never imported unless asked for. It may
use `interface`, `base` and `errors`.
"""
