"""Models and tokenizers: where they come from, loading, adapters, value models, saving."""
