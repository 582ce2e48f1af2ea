"""The D library and the D scripts: which library a system wants, where it goes, and how a script is run."""
