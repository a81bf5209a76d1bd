"""What fronts and stores say to each other, as bytes, for a store that another process serves.

`message` is the format: JSON with arrays behind it. `codec` turns the data of `interface`
(questions and filters as the trees that they are) into JSON and arrays and back, by the types of
its fields, by `coders` for each type and a table of `classes`; `columns` does the same, faster, for
points, whose columns may be long. `failures` are errors, and `limits` what is refused of a
question, since what comes from another process has been checked by none of ours. `api` names what
can be asked, so that both sides call it the same.

It may use `interface` and what lies below. Nothing here decides what code runs: classes are named
by a table.
"""
