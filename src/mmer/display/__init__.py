"""Output for people: terminal, progress bars, and the figure class of all plots."""
