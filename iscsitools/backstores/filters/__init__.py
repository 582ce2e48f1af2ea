"""The built-in filters: backstores over a backstore."""
