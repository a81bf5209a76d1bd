"""The whole product at realistic sizes: a table of shapes (`shapes`), a table of steps (`steps`),
and checks while they run (`scenario`).

`scripts/rehearse` runs it. A step is a function that uses a store as a user would, and compares all
results with an independent model (`truth`). Its decorator is its row of the table.
"""
