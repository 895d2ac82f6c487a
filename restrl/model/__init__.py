"""Models and tokenizers: sources, loading, adapters, value models, saving."""
