"""What is known of the field: support table, stacks, hardware, packages. Data files and their readers."""
