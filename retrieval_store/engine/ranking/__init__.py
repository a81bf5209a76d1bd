"""What the engine has to say of a question: points ranked by one scoring after the other.

In comes a step of `interface.questions`; out go rows, best first, with scores. `leaves` is what is
asked while a question is answered, and ranks by nearness in dense spaces; `scorings` ranks in all
other ways, and is loaded when one is asked for. `similar` says how alike vectors are, `examples`
what that makes of examples, `formulas` works out formulas, `payload_texts` ranks by words of
payloads, `labels` says which groups points are in, `pairs` finds those that are near to each other,
and `projection` draws points in a plane. Everything is arrays over candidates. It may use `nearest`
and the rooms below that, and `answering`.
"""
