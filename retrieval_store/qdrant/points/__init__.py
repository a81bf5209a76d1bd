"""Points: `ids`, `vectors` and `payloads` translate what they are made of, `writing` what is done
to them, `reading` what is asked of them; `uploads` cuts long ones into batches. It may use
`collections`, `filters` and what the room above may use.
"""
