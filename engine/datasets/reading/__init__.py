"""From what people hold to tables of named columns: how each file was read is found from the file, and said."""
