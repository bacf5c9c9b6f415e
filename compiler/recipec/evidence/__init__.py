"""What can be said of an image to others: its parts, how it was made, who vouches for it."""
