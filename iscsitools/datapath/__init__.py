"""The data path in C: ``_native``, built of the sources in ``datapath/`` beside the package."""
