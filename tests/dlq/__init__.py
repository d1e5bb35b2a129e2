"""Dead letters: explained, selected, shown, judged."""
