"""``top``: a model of rates over samples, its text, and the live screen."""
