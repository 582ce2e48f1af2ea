"""What the watching commands show: views over events or aggregations, and their rendering apart from them."""
