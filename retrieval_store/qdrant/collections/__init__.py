"""Collections: `configuration` is what they were made with, `requests` checks what is asked for,
`opened` is one as a call finds it, `managing` makes and changes them, `reports` says what they are,
`strict` what their owner doesn't allow, by `indexed`, which indexes serve a filter. It may use
`points.payloads`, `filters` and what the room above may use.
"""
