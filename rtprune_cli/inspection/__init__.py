"""What pruning did to a page, to look at: numbers, pictures of them, and the command `rtprune inspect`."""
