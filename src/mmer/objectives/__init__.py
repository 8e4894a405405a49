"""The training objectives of section 2.3 of the paper, and their gradient over large batches."""
