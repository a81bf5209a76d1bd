"""What Qdrant keeps of a point, besides its vectors.

In goes a point as `interface` has it, and out comes a payload; and the reverse. `payloads` says
what stands where, `numbers` how floats survive, `orders` numbers points by their first insertion.
It may use `base`, `filters` and `interface`.
"""
