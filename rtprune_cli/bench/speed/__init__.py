"""Times of every stage and of the whole, beside what they cannot be faster than."""
