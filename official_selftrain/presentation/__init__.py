"""What a run shows of a task: facts about its labels, metrics, pictures."""
