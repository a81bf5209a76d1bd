"""`OpenAIEmbeddingFunction` with Chroma's arguments."""

import os
from collections.abc import Mapping
from typing import Any

from retrieval_store.base.validation import quote
from retrieval_store.embeddings import openai
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.utils.embedding_functions.refusals import refuse

USUAL_KEYS = ("OPENAI_API_KEY", "CHROMA_OPENAI_API_KEY")


def OpenAIEmbeddingFunction(
    api_key: str | None = None,
    model_name: str = "text-embedding-ada-002",
    organization_id: str | None = None,
    api_base: str | None = None,
    api_type: str | None = None,
    api_version: str | None = None,
    deployment_id: str | None = None,
    default_headers: Mapping[str, str] | None = None,
    dimensions: int | None = None,
    api_key_env_var: str | None = None,
) -> openai.OpenAIEmbeddingFunction:
    """A `retrieval_store.OpenAIEmbeddingFunction`, which asks OpenAI or a server with its interface
    at `api_base`. api_key: isn't remembered by collections; api_key_env_var: the variable that has
    it, OPENAI_API_KEY if it isn't said, or CHROMA_OPENAI_API_KEY if only that is set. What is about
    Azure, and organizations and headers, is refused."""
    if api_type not in (None, "openai", "open_ai"):
        raise InvalidArgumentError(
            f"api_type is {quote(api_type)}, expected none: servers with OpenAI's interface are "
            "asked; for others pass any callable as embedding_function"
        )
    others = {
        "organization_id": organization_id,
        "api_version": api_version,
        "deployment_id": deployment_id,
        "default_headers": default_headers,
    }
    refuse("OpenAIEmbeddingFunction", others)
    variable = _usual_key() if api_key_env_var is None else api_key_env_var
    base: dict[str, Any] = {} if api_base is None else {"base_url": api_base}
    return openai.OpenAIEmbeddingFunction(
        model_name, api_key_env=variable, dimensions=dimensions, api_key=api_key, **base
    )


def _usual_key() -> str:
    return next((name for name in USUAL_KEYS if os.environ.get(name)), USUAL_KEYS[0])
