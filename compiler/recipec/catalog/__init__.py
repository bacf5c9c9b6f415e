"""What is known of the field: data files and their readers."""
