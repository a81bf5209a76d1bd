"""The whole product at the sizes that people use: a table of shapes (`shapes`), a table of steps
(`steps`), and what is watched while they run (`scenario`).

`scripts/rehearse` runs it. An step is a function that does something to a store as a user would, and
compares all that it sees with an independent answer (`truth`): a row of the table is its decorator.
"""
