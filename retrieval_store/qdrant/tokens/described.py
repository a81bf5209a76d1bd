"""How an index of texts is described, as tokens."""

from typing import Any

from qdrant_client import models

from retrieval_store.qdrant.tokens.analysis import Tokens
from retrieval_store.qdrant.tokens.stopwords import stopwords_of


def tokens_of(params: models.TextIndexParams) -> Tokens:
    """What the index makes of texts."""
    stemmer = params.stemmer
    return Tokens(
        tokenizer=(params.tokenizer or models.TokenizerType.WORD).value,
        lowercase=params.lowercase is not False,
        folded=params.ascii_folding is True,
        stopwords=_stopwords(params.stopwords),
        stemmer=stemmer.language.value if isinstance(stemmer, models.SnowballParams) else None,
        least=params.min_token_len,
        most=params.max_token_len,
    )


def _stopwords(given: Any) -> tuple[str, ...]:
    match given:
        case None:
            return ()
        case models.StopwordsSet(languages=languages, custom=custom):
            listed = [word for one in languages or () for word in stopwords_of(one.value)]
            return tuple(dict.fromkeys([*listed, *(custom or ())]))
    return stopwords_of(given.value)
