"""What people see: the terminal, progress, and the figure that pictures are drawn on."""
